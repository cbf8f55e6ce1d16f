// Weights as Hugging Face's quantizers store them, against what the tools (or the formats' definitions) make of them,
// bit for bit; and what the kernels get, against the same.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <vector>

#include "absl/strings/strip.h"
#include "common/files.h"
#include "common/status.h"
#include "nlohmann/json.hpp"
#include "worker/checkpoint/quantization_config.h"
#include "worker/checkpoint/quantized_tensors.h"
#include "worker/checkpoint/safetensors.h"
#include "worker/checkpoint/testing/status_matchers.h"

namespace slmmesh {
namespace {

constexpr const char* kFolder = MESH_SOURCE_DIR "/tests/golden/";

// -0 equals 0: which of them a zero point leaves is nobody's concern.
void ExpectSame(const std::vector<float>& actual, const float* expected) {
  for (size_t i = 0; i < actual.size(); ++i) {
    if (std::isnan(expected[i])) {
      ASSERT_TRUE(std::isnan(actual[i])) << i;
    } else {
      ASSERT_EQ(actual[i], expected[i]) << i;
    }
  }
}

std::vector<float> Read(const TensorView& tensor, int64_t row_begin, int64_t row_end, int64_t column_begin,
                        int64_t column_end) {
  std::vector<float> values(static_cast<size_t>((row_end - row_begin) * (column_end - column_begin)));
  ReadTensor(tensor, row_begin, row_end, column_begin, column_end, values.data());
  return values;
}

// scale * q (+ minimum) of a range.
std::vector<float> Multiply(const TensorView& tensor, const kernels::WeightFormat& format, int64_t row_begin,
                            int64_t row_end, int64_t column_begin, int64_t column_end) {
  const int64_t columns = column_end - column_begin;
  const int64_t group = format.group == 0 ? columns : format.group;
  const size_t count = static_cast<size_t>((row_end - row_begin) * columns);
  std::vector<int8_t> quants(count);
  std::vector<float> scales(count / static_cast<size_t>(group)), minima(format.has_minima ? scales.size() : 0);
  ReadQuantized(tensor, row_begin, row_end, column_begin, column_end, quants.data(), scales.data(),
                format.has_minima ? minima.data() : nullptr);
  if (format.type == kernels::WeightType::kInt4) {
    const auto [low, high] = std::minmax_element(quants.begin(), quants.end());
    EXPECT_GE(*low, format.has_minima ? 0 : -8);
    EXPECT_LE(*high, format.has_minima ? 15 : 7);
  }
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) {
    const size_t of = i / static_cast<size_t>(group);
    values[i] = scales[of] * static_cast<float>(quants[i]);
    if (format.has_minima) values[i] += minima[of];
  }
  return values;
}

class GoldenQuantized : public testing::Test {
 protected:
  void SetUp() override {
    std::ifstream file(std::string(kFolder) + "quantized.json");
    configs_ = nlohmann::json::parse(file);
    file_ = *MappedFile::Open(std::string(kFolder) + "quantized.safetensors");
  }

  // The case's tensors, joined.
  absl::StatusOr<TensorTable> Join(const std::string& name) {
    ASSIGN_OR_RETURN(const std::vector<TensorView> all, ParseSafetensors("golden", file_->bytes()));
    TensorTable table;
    for (TensorView tensor : all) {
      absl::string_view rest = tensor.name;
      if (!absl::ConsumePrefix(&rest, name + ".")) continue;
      tensor.name = rest == "expected" ? "expected" : "m." + std::string(rest);
      RETURN_IF_ERROR(table.Add(std::move(tensor)));
    }
    const Json json = {{"quantization_config", configs_[name]}};
    ASSIGN_OR_RETURN(const JsonFields fields, JsonFields::Create("config.json", json));
    ASSIGN_OR_RETURN(const QuantizationConfig config, ReadQuantizationConfig(fields));
    RETURN_IF_ERROR(JoinQuantizedTensors(config, table));
    return table;
  }

  Json configs_;
  std::shared_ptr<const MappedFile> file_;
};

TEST_F(GoldenQuantized, ValuesAreTheTools) {
  EXPECT_EQ(configs_.size(), 23u);
  for (const auto& [name, config] : configs_.items()) {
    SCOPED_TRACE(name);
    const absl::StatusOr<TensorTable> table = Join(name);
    ASSERT_OK(table);
    const TensorView& expected_view = table->all().at("expected");
    const auto tensor = table->Find("m.weight", expected_view.shape);
    ASSERT_OK(tensor);
    const int64_t rows = tensor->rows(), columns = tensor->columns();
    const std::vector<float> expected = Read(expected_view, 0, rows, 0, columns);
    ASSERT_NO_FATAL_FAILURE(ExpectSame(Read(*tensor, 0, rows, 0, columns), expected.data()));
    for (int64_t row = 0; row < rows; row += 3) {
      for (int64_t begin = 0; begin < columns; begin += 13) {
        for (int64_t end = begin; end <= columns; end += 17) {
          ASSERT_NO_FATAL_FAILURE(
              ExpectSame(Read(*tensor, row, row + 1, begin, end), &expected[row * columns + begin]));
        }
      }
    }
    const auto format = NativeFormat(*tensor);
    if (!format.has_value()) continue;
    ASSERT_NO_FATAL_FAILURE(ExpectSame(Multiply(*tensor, *format, 0, rows, 0, columns), expected.data()));
    const int64_t group = format->group == 0 ? 37 : format->group;  // scales of whole rows serve any columns
    for (int64_t begin = 0; begin < columns; begin += group) {
      const std::vector<float> values = Multiply(*tensor, *format, 5, 6, begin, columns);
      ASSERT_NO_FATAL_FAILURE(ExpectSame(values, &expected[5 * columns + begin]));
    }
  }
}

TEST_F(GoldenQuantized, FormatsForTheKernels) {
  using kernels::ScaleType;
  using kernels::WeightFormat;
  using kernels::WeightType;
  const std::map<std::string, std::optional<WeightFormat>> expected = {
      {"gptq_int4", WeightFormat(WeightType::kInt4, 32, ScaleType::kFloat16, false)},
      {"gptq_int4_zeros", WeightFormat(WeightType::kInt4, 64, ScaleType::kFloat32, true)},
      {"gptq_int4_rows", WeightFormat(WeightType::kInt4, 128, ScaleType::kFloat16, false)},
      {"gptq_int4_desc_act", std::nullopt},
      {"gptq_int8", WeightFormat(WeightType::kInt8, 32, ScaleType::kFloat16, false)},
      {"gptq_int8_zeros", WeightFormat(WeightType::kInt8, 64, ScaleType::kFloat32, true)},
      {"awq_128", WeightFormat(WeightType::kInt4, 128, ScaleType::kFloat32, true)},
      {"w4a16", WeightFormat(WeightType::kInt4, 32, ScaleType::kFloat32, false)},
      {"w4a16_half", WeightFormat(WeightType::kInt4, 32, ScaleType::kFloat16, false)},
      {"w8a16_rows", WeightFormat(WeightType::kInt8, 0, ScaleType::kFloat32, false)},
      {"w8a8", WeightFormat(WeightType::kInt8, 0, ScaleType::kFloat32, false)},
      {"w8a8_single", WeightFormat(WeightType::kInt8, 0, ScaleType::kFloat32, false)},
      {"w8a8_zeros", std::nullopt},
      {"float_rows", std::nullopt},
      {"fp8_blocks", std::nullopt}};
  for (const auto& [name, format] : expected) {
    SCOPED_TRACE(name);
    const absl::StatusOr<TensorTable> table = Join(name);
    ASSERT_OK(table);
    EXPECT_EQ(NativeFormat(table->all().at("m.weight")), format);
  }
}

}  // namespace
}  // namespace slmmesh
