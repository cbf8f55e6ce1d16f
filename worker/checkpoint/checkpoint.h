// A model's files, opened and checked, not yet loaded: what it is (ModelConfig), its tensors as mapped bytes, and what
// the router needs to speak for it. Two readers: Hugging Face folders and GGUF files, told apart by the path.
// A file that lies about its size, shape, type or offsets is refused here, before a weight is touched.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "kernels/weight_format.h"
#include "worker/checkpoint/model_config.h"
#include "worker/checkpoint/quantized_parts.h"

namespace slmmesh {

// The last four are of safetensors, and as a rule parts of a quantized weight.
enum class TensorType { kF32, kF16, kBF16, kQ8_0, kQ4_0, kQ4_1, kQ4_K, kQ5_K, kQ6_K, kI8, kI32, kI64, kF8E4M3 };

// A tensor as it lies in a mapped file. Row-major; shape[0] is the slowest (rows). Rows are contiguous bytes.
struct TensorView {
  std::string name;  // Hugging Face's name, also for GGUF ("model.layers.0.self_attn.q_proj.weight")
  TensorType type;
  std::vector<int64_t> shape;  // 1 or 2 dimensions
  absl::Span<const uint8_t> bytes;
  // GGUF stores Llama's q and k with rotary pairs interleaved; then row r of the Hugging Face order is found at
  // PermutedRow(r). Readers go through ReadRows, which hides it. 0: not permuted; else the number of heads.
  int64_t interleaved_heads = 0;
  // How `bytes`, of type `type`, and other tensors' bytes make up a quantized weight; order kNone: they do not.
  QuantizedParts parts;

  int64_t rows() const { return shape.size() == 1 ? 1 : shape[0]; }
  int64_t columns() const { return shape.back(); }
};

// Rows [begin, end) and columns [column_begin, column_end) as fp32, row-major, into out. Exact for every float type
// (they widen); quantized weights are scale * q (+ minimum) in fp32, as ggml's dequantize does. Touches only those
// bytes. Quantized columns may start anywhere.
void ReadTensor(const TensorView& tensor, int64_t row_begin, int64_t row_end, int64_t column_begin, int64_t column_end,
                float* out);

// How the stored quants are multiplied as they are; nullopt for float types and for what only ReadTensor can read.
std::optional<kernels::WeightFormat> NativeFormat(const TensorView& tensor);

// The same range of a matrix with a native format, unrounded: quants [rows, columns], scales and minima
// [rows, columns / group] ([rows] where group is 0; minima null where the format has none). Columns begin and end at
// multiples of the group (anywhere where it is 0). scale * q (+ minimum) in fp32 is ReadTensor's value to the bit.
void ReadQuantized(const TensorView& tensor, int64_t row_begin, int64_t row_end, int64_t column_begin,
                   int64_t column_end, int8_t* quants, float* scales, float* minima);

// What a router needs (proto ModelInfo carries it).
struct TextAssets {
  std::string tokenizer_json;  // empty: the folder has none
  std::string chat_template;   // empty: the model has none
  std::string bos_token;
  std::string eos_token;
  std::vector<uint32_t> eos_token_ids;
};

struct GenerationConfig {  // absent: NaN, or -1
  float temperature = std::numeric_limits<float>::quiet_NaN();
  float top_p = std::numeric_limits<float>::quiet_NaN();
  float min_p = std::numeric_limits<float>::quiet_NaN();
  float repetition_penalty = std::numeric_limits<float>::quiet_NaN();
  int64_t top_k = -1;
};

class Checkpoint {
 public:
  // `path`: a folder with config.json, or a .gguf file. `sha256` (hex) is checked against a GGUF file unless empty.
  // The files must not shrink while it is open: they are mapped.
  static absl::StatusOr<std::unique_ptr<Checkpoint>> Open(const std::string& path, const std::string& sha256 = "");
  virtual ~Checkpoint() = default;

  virtual const ModelConfig& config() const = 0;
  virtual const TextAssets& text() const = 0;
  virtual const GenerationConfig& generation() const = 0;
  // NOT_FOUND with the name, or INVALID_ARGUMENT when the shape is not `shape`.
  virtual absl::StatusOr<TensorView> Find(const std::string& name, absl::Span<const int64_t> shape) const = 0;
  virtual bool Has(absl::string_view name) const = 0;
  // Names the content cheaply: SHA-256 over config, text files, headers, file sizes and a sample of the weights' pages,
  // not over all weights. Equal for equal files.
  virtual const std::string& digest() const = 0;
};

}  // namespace slmmesh
