#include "worker/offline/convert.h"

#include <stdlib.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/status.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/tensor_table.h"
#include "worker/offline/calibration.h"
#include "worker/offline/model_files.h"
#include "worker/quantize/error_spread.h"
#include "worker/quantize/small_floats.h"

namespace slmmesh {
namespace {

constexpr int64_t kRowsAtOnce = 64;  // a thread's

// The matrices that take the time of a step.
bool IsProjection(absl::string_view name, absl::string_view* module) {
  *module = name;
  return absl::ConsumeSuffix(module, ".weight") && absl::EndsWith(*module, "_proj");
}

bool IsFloat(const TensorView& tensor) {
  return tensor.parts.order == QuantOrder::kNone && BlockElements(tensor.type) == 1 && tensor.interleaved_heads == 0;
}

// Removes the folder unless it was kept.
class PartialFolder {
 public:
  static absl::StatusOr<std::unique_ptr<PartialFolder>> Create(const std::string& output) {
    std::error_code error;
    if (std::filesystem::exists(output, error)) {
      return absl::AlreadyExistsError(absl::StrCat(output, ": is there already; name a folder that is not"));
    }
    std::string path = output + ".partial-XXXXXX";
    if (mkdtemp(path.data()) == nullptr) {
      return absl::UnavailableError(absl::StrCat(path, ": cannot be created: is its parent there, and writable?"));
    }
    return std::unique_ptr<PartialFolder>(new PartialFolder(output, std::move(path)));
  }
  ~PartialFolder() {
    std::error_code ignored;
    if (!kept_) std::filesystem::remove_all(path_, ignored);
  }
  PartialFolder(const PartialFolder&) = delete;
  PartialFolder& operator=(const PartialFolder&) = delete;

  const std::string& path() const { return path_; }

  absl::Status Keep() {
    std::error_code error;
    using std::filesystem::perms;
    std::filesystem::permissions(
        path_, perms::owner_all | perms::group_read | perms::group_exec | perms::others_read | perms::others_exec,
        error);
    std::filesystem::rename(path_, output_, error);
    if (error) return absl::UnavailableError(absl::StrCat(output_, ": cannot be created: ", error.message()));
    kept_ = true;
    return absl::OkStatus();
  }

 private:
  PartialFolder(std::string output, std::string path) : output_(std::move(output)), path_(std::move(path)) {}
  const std::string output_;
  const std::string path_;
  bool kept_ = false;
};

// Streams the tensors of one checkpoint into one file.
class WeightsConverter {
 public:
  // `calibration` may be null.
  WeightsConverter(const Checkpoint& checkpoint, const StoredFormat& format, const ConvertOptions& options,
                   Calibration* calibration)
      : checkpoint_(checkpoint),
        format_(format),
        options_(options),
        calibration_(calibration),
        tensors_(ExpectedTensors(checkpoint.config())) {}

  absl::Status Run(const std::string& path) {
    std::vector<TensorEntry> entries;
    for (const auto& [name, shape] : tensors_) {
      ASSIGN_OR_RETURN(const TensorView tensor, checkpoint_.Find(name, shape));
      all_elements_ += tensor.rows() * tensor.columns();
      absl::string_view module;
      if (IsProjection(name, &module)) {
        const std::vector<TensorEntry> parts = EntriesOf(format_, std::string(module), shape[0], shape[1]);
        entries.insert(entries.end(), parts.begin(), parts.end());
      } else {
        entries.push_back({name, TypeOfFloats(tensor), shape});
      }
    }
    ASSIGN_OR_RETURN(writer_, SafetensorsWriter::Create(path, entries));
    for (const auto& [name, shape] : tensors_) {
      ASSIGN_OR_RETURN(const TensorView tensor, checkpoint_.Find(name, shape));
      absl::string_view module;
      RETURN_IF_ERROR(IsProjection(name, &module) ? WriteQuantized(tensor) : WriteFloats(tensor));
    }
    return writer_->Finish();
  }

 private:
  // Floats stay what they are. What else is quantized (a GGUF file's embeddings) becomes bf16, vectors fp32.
  static TensorType TypeOfFloats(const TensorView& tensor) {
    if (IsFloat(tensor)) return tensor.type;
    return tensor.shape.size() == 1 ? TensorType::kF32 : TensorType::kBF16;
  }

  absl::Status WriteFloats(const TensorView& tensor) {
    const int64_t columns = tensor.columns();
    for (int64_t begin = 0; begin < tensor.rows(); begin += kRowsAtOnce) {
      const int64_t end = std::min(begin + kRowsAtOnce, tensor.rows());
      if (IsFloat(tensor)) {
        const uint64_t row_bytes = RowBytes(tensor.type, columns);
        const auto from = static_cast<uint64_t>(begin) * row_bytes;
        RETURN_IF_ERROR(writer_->Append(tensor.bytes.subspan(from, static_cast<uint64_t>(end - begin) * row_bytes)));
      } else {
        std::vector<float> values(static_cast<size_t>((end - begin) * columns));
        ReadTensor(tensor, begin, end, 0, columns, values.data());
        if (TypeOfFloats(tensor) == TensorType::kF32) {
          RETURN_IF_ERROR(writer_->AppendNumbers(values));
        } else {
          std::vector<uint16_t> rounded(values.size());
          std::transform(values.begin(), values.end(), rounded.begin(), RoundToBFloat);
          RETURN_IF_ERROR(writer_->AppendNumbers(rounded));
        }
      }
      Report((end - begin) * columns);
    }
    return absl::OkStatus();
  }

  struct Block {
    int64_t begin, end;  // rows
    EncodedRows encoded;
    bool is_finite = true;
  };

  // What the calibration says of a projection's columns; those with the same input follow each other.
  absl::Status PrepareSpread(const TensorView& tensor) {
    if (calibration_ == nullptr) return absl::OkStatus();
    const std::vector<std::string> parts = absl::StrSplit(tensor.name, '.');  // model.layers.3.mlp.up_proj.weight
    int64_t layer = 0;
    if (parts.size() != 6 || !absl::SimpleAtoi(parts[2], &layer)) {
      return absl::InternalError(absl::StrCat(tensor.name, " is not a layer's projection"));
    }
    ProjectionInput input = ProjectionInput::kAttention;
    if (parts[4] == "o_proj") input = ProjectionInput::kOutput;
    if (parts[4] == "gate_proj" || parts[4] == "up_proj") input = ProjectionInput::kMlp;
    if (parts[4] == "down_proj") input = ProjectionInput::kDown;
    if (spread_.has_value() && spread_of_ == std::pair(layer, input)) return absl::OkStatus();
    spread_of_ = {layer, input};
    ASSIGN_OR_RETURN(const std::vector<float>* moments, calibration_->Moments(layer, input));
    spread_ = ErrorSpread::Create(*moments, tensor.columns());
    if (spread_.has_value()) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("the inputs of ", tensor.name, " are not finite while the calibration text is read"));
  }

  absl::Status WriteQuantized(const TensorView& tensor) {
    RETURN_IF_ERROR(PrepareSpread(tensor));
    std::vector<uint8_t> scales;
    for (int64_t begin = 0; begin < tensor.rows();) {
      std::vector<Block> blocks;
      for (int thread = 0; thread < options_.threads && begin < tensor.rows(); ++thread) {
        const int64_t end = std::min(begin + kRowsAtOnce, tensor.rows());
        blocks.push_back({begin, end, {}});
        begin = end;
      }
      std::vector<std::thread> helpers;
      for (size_t i = 1; i < blocks.size(); ++i) {
        helpers.emplace_back([this, &tensor, &blocks, i] { Encode(tensor, &blocks[i]); });
      }
      Encode(tensor, &blocks[0]);
      for (std::thread& helper : helpers) helper.join();
      for (const Block& block : blocks) {
        if (!block.is_finite) {
          return absl::InvalidArgumentError(absl::StrCat("tensor ", tensor.name, " holds a NaN or infinite value"));
        }
        RETURN_IF_ERROR(writer_->AppendNumbers(block.encoded.quants));
        scales.insert(scales.end(), block.encoded.scales.begin(), block.encoded.scales.end());
        Report((block.end - block.begin) * tensor.columns());
      }
    }
    RETURN_IF_ERROR(writer_->AppendNumbers(scales));
    return writer_->AppendNumbers(EncodeTrailer(format_, tensor.rows(), tensor.columns()));
  }

  void Encode(const TensorView& tensor, Block* block) const {
    const int64_t rows = block->end - block->begin;
    std::vector<float> values(static_cast<size_t>(rows * tensor.columns()));
    ReadTensor(tensor, block->begin, block->end, 0, tensor.columns(), values.data());
    block->is_finite = std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); });
    if (block->is_finite)
      block->encoded =
          EncodeRows(format_, spread_.has_value() ? &*spread_ : nullptr, values.data(), rows, tensor.columns());
  }

  void Report(int64_t elements) {
    done_elements_ += elements;
    if (options_.progress) {
      options_.progress(static_cast<double>(done_elements_) / static_cast<double>(all_elements_));
    }
  }

  const Checkpoint& checkpoint_;
  const StoredFormat format_;
  const ConvertOptions& options_;
  Calibration* const calibration_;
  const std::vector<std::pair<std::string, std::vector<int64_t>>> tensors_;
  std::unique_ptr<SafetensorsWriter> writer_;
  std::optional<ErrorSpread> spread_;  // with a calibration: of the projection that is being written
  std::pair<int64_t, ProjectionInput> spread_of_;
  int64_t all_elements_ = 0;
  int64_t done_elements_ = 0;
};

// One group for the whole model: it must divide the columns of every projection.
absl::StatusOr<StoredFormat> ChooseFormat(const ModelConfig& config, const ConvertOptions& options) {
  const bool is_int4 = options.weights == StoredWeights::kInt4;
  const auto first_misfit = [&](int64_t group) -> std::pair<std::string, int64_t> {
    for (const auto& [name, shape] : ExpectedTensors(config)) {
      absl::string_view module;
      if (IsProjection(name, &module) && shape[1] % group != 0) return {name, shape[1]};
    }
    return {"", 0};
  };
  if (options.group == -1) {
    if (!is_int4) return StoredFormat{options.weights, 0};
    for (const int64_t group : {128, 64, 32}) {
      if (first_misfit(group).second == 0) return StoredFormat{options.weights, group};
    }
    const auto [name, columns] = first_misfit(32);
    return absl::InvalidArgumentError(absl::StrCat("--weights is int4; expected int8 or fp8, as the ", columns,
                                                   " columns of ", name, " are no multiple of 32"));
  }
  if (options.weights == StoredWeights::kFp8 && options.group != 0) {
    return absl::InvalidArgumentError(absl::StrCat("--group is ", options.group, "; expected 0 with fp8"));
  }
  const int64_t unit = is_int4 ? 32 : 16;
  if (options.group % unit != 0 || options.group < 0 || (is_int4 && options.group == 0)) {
    return absl::InvalidArgumentError(absl::StrCat("--group is ", options.group, "; expected a multiple of ", unit,
                                                   is_int4 ? "" : ", or 0 for one scale a row"));
  }
  if (options.group != 0) {
    const auto [name, columns] = first_misfit(options.group);
    if (columns != 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("--group is ", options.group, "; expected a divisor of the ", columns, " columns of ", name));
    }
  }
  return StoredFormat{options.weights, options.group};
}

}  // namespace

absl::Status Convert(const ConvertOptions& options) {
  ASSIGN_OR_RETURN(const std::shared_ptr<const Checkpoint> checkpoint, Checkpoint::Open(options.input));
  ASSIGN_OR_RETURN(const StoredFormat format, ChooseFormat(checkpoint->config(), options));
  std::unique_ptr<Calibration> calibration;
  if (!options.calibration_text.empty()) {
    if (options.weights == StoredWeights::kFp8) {
      return absl::InvalidArgumentError("--calibrate is given; expected int4 or int8 weights with it, not fp8");
    }
    CalibrationOptions calibration_options;
    calibration_options.text = options.calibration_text;
    calibration_options.tokens = options.calibration_tokens;
    calibration_options.threads = options.threads;
    ASSIGN_OR_RETURN(calibration, Calibration::Create(checkpoint, calibration_options));
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<PartialFolder> folder, PartialFolder::Create(options.output));
  RETURN_IF_ERROR(WriteModelFiles(options.input, *checkpoint, QuantizationConfigJson(format), folder->path()));
  RETURN_IF_ERROR(
      WeightsConverter(*checkpoint, format, options, calibration.get()).Run(folder->path() + "/model.safetensors"));
  RETURN_IF_ERROR(WriteManifest(folder->path()));
  RETURN_IF_ERROR(Annotate(Checkpoint::Open(folder->path()).status(), "what was written cannot be read"));
  return folder->Keep();
}

}  // namespace slmmesh
