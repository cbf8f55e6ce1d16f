// The shape of a decoder, from config.json (transformers 4 and 5 spellings) or GGUF metadata. Checked when built:
// every field is within bounds, so the model code trusts it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace slmmesh {

enum class Architecture { kLlama, kMistral, kQwen2, kQwen3 };

enum class RopeType { kDefault, kLinear, kDynamic, kLlama3, kYarn };

// Field meanings as in transformers' modeling_rope_utils.
struct RopeConfig {
  RopeType type = RopeType::kDefault;
  double theta = 10000.0;
  double factor = 1.0;
  double low_freq_factor = 1.0;        // llama3
  double high_freq_factor = 4.0;       // llama3
  int64_t original_max_positions = 0;  // llama3, yarn, dynamic; 0: max_positions
  double beta_fast = 32.0;             // yarn
  double beta_slow = 1.0;              // yarn
  double attention_factor = 0.0;       // yarn; 0: derived (0.1 ln(factor) + 1, or from mscale)
  double mscale = 0.0;                 // yarn
  double mscale_all_dim = 0.0;         // yarn
  bool truncate = true;                // yarn
  // GGUF writes Llama 3's scaling as a table instead of its parameters (rope_freqs.weight): rotary_dim / 2 numbers that
  // the inverse frequencies are divided by. Empty: none. Only with kDefault.
  std::vector<float> frequency_factors;
};

struct ModelConfig {
  Architecture architecture = Architecture::kLlama;
  int64_t hidden_size = 0;
  int64_t num_layers = 0;
  int64_t num_q_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;  // may differ from hidden_size / num_q_heads
  int64_t intermediate_size = 0;
  int64_t vocab_size = 0;
  int64_t max_positions = 0;
  double rms_norm_epsilon = 1e-5;
  bool tied_embeddings = false;
  bool qkv_bias = false;     // Qwen2; Llama and Mistral: attention_bias
  bool output_bias = false;  // o_proj's, with attention_bias
  bool mlp_bias = false;     // Llama's mlp_bias
  bool qk_norm = false;      // Qwen3
  // Keys visible to a query in layer l; 0: all. One entry a layer (Mistral: all equal; Qwen2: by max_window_layers).
  std::vector<int64_t> sliding_window;
  int64_t rotary_dim = 0;  // head_dim, unless partial
  RopeConfig rope;
};

const char* ArchitectureName(Architecture architecture);  // "llama", "mistral", "qwen2", "qwen3"

// The bounds that hold across fields, whatever the file they came from (each reader bounds the fields one by one):
// INVALID_ARGUMENT names the fields that do not fit together.
absl::Status CheckModelConfig(const ModelConfig& config);

// Bounds of single fields, shared by the readers.
constexpr int64_t kMaxHiddenSize = int64_t{1} << 16;
constexpr int64_t kMaxIntermediateSize = int64_t{1} << 19;
constexpr int64_t kMaxLayers = 1024;
constexpr int64_t kMaxHeads = 1024;
constexpr int64_t kMaxHeadDim = 256;  // what attention kernels take
constexpr int64_t kMaxVocabSize = int64_t{1} << 22;
constexpr int64_t kMaxPositions = int64_t{1} << 26;

}  // namespace slmmesh
