#include "worker/checkpoint/tensor_table.h"

#include <algorithm>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status.h"

namespace slmmesh {
namespace {

std::string ShowShape(absl::Span<const int64_t> shape) { return absl::StrCat("[", absl::StrJoin(shape, ", "), "]"); }

bool IsAllZeroBytes(const TensorView& tensor) {
  return std::all_of(tensor.bytes.begin(), tensor.bytes.end(), [](uint8_t byte) { return byte == 0; });
}

}  // namespace

const char* TensorTypeName(TensorType type) {
  switch (type) {
    case TensorType::kF32:
      return "F32";
    case TensorType::kF16:
      return "F16";
    case TensorType::kBF16:
      return "BF16";
    case TensorType::kQ8_0:
      return "Q8_0";
    case TensorType::kQ4_0:
      return "Q4_0";
    case TensorType::kQ4_1:
      return "Q4_1";
    case TensorType::kQ4_K:
      return "Q4_K";
    case TensorType::kQ5_K:
      return "Q5_K";
    case TensorType::kQ6_K:
      return "Q6_K";
    case TensorType::kI8:
      return "I8";
    case TensorType::kI32:
      return "I32";
    case TensorType::kI64:
      return "I64";
    case TensorType::kF8E4M3:
      return "F8_E4M3";
  }
  return "unknown";
}

int64_t BlockElements(TensorType type) {
  switch (type) {
    case TensorType::kF32:
    case TensorType::kF16:
    case TensorType::kBF16:
    case TensorType::kI8:
    case TensorType::kI32:
    case TensorType::kI64:
    case TensorType::kF8E4M3:
      return 1;
    case TensorType::kQ8_0:
    case TensorType::kQ4_0:
    case TensorType::kQ4_1:
      return 32;
    case TensorType::kQ4_K:
    case TensorType::kQ5_K:
    case TensorType::kQ6_K:
      return 256;
  }
  return 1;
}

uint64_t RowBytes(TensorType type, int64_t columns) {
  const int64_t elements = BlockElements(type);
  const uint64_t blocks = columns % elements == 0 ? static_cast<uint64_t>(columns / elements) : 0;
  switch (type) {
    case TensorType::kI8:
    case TensorType::kF8E4M3:
      return blocks;
    case TensorType::kI64:
      return blocks * 8;
    case TensorType::kF32:
    case TensorType::kI32:
      return blocks * 4;
    case TensorType::kF16:
    case TensorType::kBF16:
      return blocks * 2;
    case TensorType::kQ8_0:
      return blocks * 34;
    case TensorType::kQ4_0:
      return blocks * 18;
    case TensorType::kQ4_1:
      return blocks * 20;
    case TensorType::kQ4_K:
      return blocks * 144;
    case TensorType::kQ5_K:
      return blocks * 176;
    case TensorType::kQ6_K:
      return blocks * 210;
  }
  return 0;
}

absl::Status TensorTable::Add(TensorView&& tensor) {
  std::string name = tensor.name;
  if (!tensors_.try_emplace(name, std::move(tensor)).second) {
    return absl::InvalidArgumentError(absl::StrCat("tensor `", name, "` is there twice"));
  }
  return absl::OkStatus();
}

std::optional<TensorView> TensorTable::Take(absl::string_view name) {
  auto found = tensors_.extract(name);
  if (found.empty()) return std::nullopt;
  return std::move(found.mapped());
}

absl::StatusOr<TensorView> TensorTable::Find(const std::string& name, absl::Span<const int64_t> shape) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) return absl::NotFoundError(absl::StrCat("tensor `", name, "` is missing"));
  if (found->second.shape != shape) {
    return absl::InvalidArgumentError(absl::StrCat("tensor `", name, "` has shape ", ShowShape(found->second.shape),
                                                   "; expected ", ShowShape(shape), " from the model's config"));
  }
  return found->second;
}

std::vector<std::pair<std::string, std::vector<int64_t>>> ExpectedTensors(const ModelConfig& config) {
  std::vector<std::pair<std::string, std::vector<int64_t>>> expected;
  const int64_t hidden = config.hidden_size;
  const int64_t query = config.num_q_heads * config.head_dim;
  const int64_t key = config.num_kv_heads * config.head_dim;
  const auto add_linear = [&](const std::string& name, int64_t out, int64_t in, bool bias) {
    expected.push_back({absl::StrCat(name, ".weight"), {out, in}});
    if (bias) expected.push_back({absl::StrCat(name, ".bias"), {out}});
  };

  expected.push_back({"model.embed_tokens.weight", {config.vocab_size, hidden}});
  for (int64_t l = 0; l < config.num_layers; ++l) {
    const std::string layer = absl::StrCat("model.layers.", l, ".");
    expected.push_back({layer + "input_layernorm.weight", {hidden}});
    add_linear(layer + "self_attn.q_proj", query, hidden, config.qkv_bias);
    add_linear(layer + "self_attn.k_proj", key, hidden, config.qkv_bias);
    add_linear(layer + "self_attn.v_proj", key, hidden, config.qkv_bias);
    if (config.qk_norm) {
      expected.push_back({layer + "self_attn.q_norm.weight", {config.head_dim}});
      expected.push_back({layer + "self_attn.k_norm.weight", {config.head_dim}});
    }
    add_linear(layer + "self_attn.o_proj", hidden, query, config.output_bias);
    expected.push_back({layer + "post_attention_layernorm.weight", {hidden}});
    add_linear(layer + "mlp.gate_proj", config.intermediate_size, hidden, config.mlp_bias);
    add_linear(layer + "mlp.up_proj", config.intermediate_size, hidden, config.mlp_bias);
    add_linear(layer + "mlp.down_proj", hidden, config.intermediate_size, config.mlp_bias);
  }
  expected.push_back({"model.norm.weight", {hidden}});
  if (!config.tied_embeddings) expected.push_back({"lm_head.weight", {config.vocab_size, hidden}});
  return expected;
}

absl::Status CheckTensors(const TensorTable& table, const ModelConfig& config) {
  absl::flat_hash_set<std::string> names;
  for (const auto& [name, shape] : ExpectedTensors(config)) {
    RETURN_IF_ERROR(table.Find(name, shape).status());
    names.insert(name);
  }
  for (const auto& [name, tensor] : table.all()) {
    const bool in_vain = name == "lm_head.weight" || absl::EndsWith(name, ".rotary_emb.inv_freq") ||
                         (absl::EndsWith(name, ".bias") && IsAllZeroBytes(tensor));
    if (!names.contains(name) && !in_vain) {
      return absl::InvalidArgumentError(absl::StrCat("tensor `", name, "` is not part of a ",
                                                     ArchitectureName(config.architecture), " model of ",
                                                     config.num_layers, " layers with this config"));
    }
  }
  return absl::OkStatus();
}

}  // namespace slmmesh
