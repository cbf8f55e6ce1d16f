// Damaged quantized checkpoints of every format: refused or read, never a crash, an overrun or a large allocation.
#include <gtest/gtest.h>

#include <fstream>
#include <iostream>

#include "absl/strings/strip.h"
#include "common/files.h"
#include "common/status.h"
#include "tests/fuzz/allocation_meter.h"
#include "tests/fuzz/mutator.h"
#include "worker/checkpoint/quantization_config.h"
#include "worker/checkpoint/quantized_tensors.h"
#include "worker/checkpoint/safetensors.h"
#include "worker/checkpoint/testing/safetensors_builder.h"

namespace slmmesh {
namespace {

constexpr uint64_t kSeed = 20240602;

struct Case {
  std::string config;  // config.json
  std::string file;    // one module's tensors
};

// The golden ones.
std::vector<Case> ReadCases() {
  const std::string folder = MESH_SOURCE_DIR "/tests/golden/";
  const auto file = MappedFile::Open(folder + "quantized.safetensors");
  const auto tensors = ParseSafetensors("golden", (*file)->bytes());
  std::ifstream configs_file(folder + "quantized.json");
  const Json configs = Json::parse(configs_file);
  std::vector<Case> cases;
  for (const auto& [name, config] : configs.items()) {
    SafetensorsBuilder builder;
    uint64_t size = 0;
    for (const TensorView& tensor : *tensors) {
      absl::string_view rest = tensor.name;
      if (!absl::ConsumePrefix(&rest, name + ".") || rest == "expected") continue;
      const std::string bytes(reinterpret_cast<const char*>(tensor.bytes.data()), tensor.bytes.size());
      builder.AddHeader(absl::StrCat("m.", rest), TensorTypeName(tensor.type),
                        absl::StrCat("[", absl::StrJoin(tensor.shape, ","), "]"), size, size + bytes.size());
      builder.AddData(bytes);
      size += bytes.size();
    }
    cases.push_back({Json({{"quantization_config", config}}).dump(), builder.Build()});
  }
  return cases;
}

void ReadAll(const TensorView& tensor) {
  const int64_t rows = tensor.rows(), columns = tensor.columns();
  std::vector<float> row(static_cast<size_t>(columns));
  for (int64_t r = 0; r < rows; ++r) ReadTensor(tensor, r, r + 1, 0, columns, row.data());
  const auto format = NativeFormat(tensor);
  if (!format.has_value()) return;
  const size_t groups = static_cast<size_t>(format->group == 0 ? 1 : columns / format->group);
  std::vector<int8_t> quants(static_cast<size_t>(columns));
  std::vector<float> scales(groups), minima(groups);
  for (int64_t r = 0; r < rows; ++r) {
    ReadQuantized(tensor, r, r + 1, 0, columns, quants.data(), scales.data(),
                  format->has_minima ? minima.data() : nullptr);
  }
}

absl::Status ReadDamaged(const std::string& config_text, const std::vector<uint8_t>& file) {
  ASSIGN_OR_RETURN(const Json json, ParseJson("config.json", config_text));
  ASSIGN_OR_RETURN(const JsonFields fields, JsonFields::Create("config.json", json));
  ASSIGN_OR_RETURN(const QuantizationConfig config, ReadQuantizationConfig(fields));
  ASSIGN_OR_RETURN(std::vector<TensorView> tensors, ParseSafetensors("f", file));
  TensorTable table;
  for (TensorView& tensor : tensors) RETURN_IF_ERROR(table.Add(std::move(tensor)));
  RETURN_IF_ERROR(JoinQuantizedTensors(config, table));
  for (const auto& [name, tensor] : table.all()) ReadAll(tensor);
  return absl::OkStatus();
}

TEST(FuzzQuantized, JoinAndRead) {
  std::cout << "seed " << kSeed << "\n";
  Mutator mutator(kSeed);
  const std::vector<Case> cases = ReadCases();
  ASSERT_EQ(cases.size(), 23u);
  std::vector<int> accepted(cases.size());
  for (size_t i = 0; i < 20000; ++i) {
    SCOPED_TRACE(testing::Message() << "iteration " << i);
    const Case& one = cases[i % cases.size()];
    const bool is_first = i < cases.size();  // as it is
    const bool in_config = mutator.Next() % 2 == 0;
    const std::string config = !is_first && in_config ? mutator.Mutate(one.config) : one.config;
    std::string file = one.file;
    if (!is_first && !in_config) {
      const size_t header = SafetensorsDataOffset({reinterpret_cast<const uint8_t*>(file.data()), file.size()});
      file = mutator.Next() % 4 == 0
                 ? mutator.Mutate(file)
                 : SafetensorsBuilder::WithHeader(mutator.Mutate(file.substr(8, header - 8)), file.substr(header));
    }
    const std::vector<uint8_t> exact(file.begin(), file.end());  // no byte behind the last: overruns are seen
    const AllocationMeter meter;
    const absl::Status status = ReadDamaged(config, exact);
    ASSERT_LE(meter.peak_bytes(), (size_t{1} << 20) + 64 * (exact.size() + config.size()));
    if (is_first) {
      ASSERT_TRUE(status.ok()) << status;
    }
    if (!status.ok()) {
      ASSERT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    } else if (!is_first) {
      ++accepted[i % cases.size()];
    }
  }
  for (const int count : accepted)
    EXPECT_GT(count, 0) << "damage so heavy that nothing behind the first check is tested";
}

}  // namespace
}  // namespace slmmesh
