#include "worker/model/model_weights.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "common/status.h"
#include "worker/model/panel_loader.h"

namespace slmmesh {
namespace {

const char* HeadModule(const ModelConfig& config) { return config.tied_embeddings ? "model.embed_tokens" : "lm_head"; }

// Walks the tensors of a checkpoint by their Hugging Face names. Vectors are read at once, matrices are handed to the
// panel loader, which packs them when all are known.
class WeightsReader {
 public:
  WeightsReader(const Checkpoint& checkpoint, const ShardPlan& plan, kernels::Backend* backend,
                const ModelOptions& options)
      : checkpoint_(checkpoint),
        config_(checkpoint.config()),
        plan_(plan),
        backend_(backend),
        options_(options),
        panels_(backend) {}

  absl::StatusOr<ModelWeights> Read() {
    const int64_t hidden = config_.hidden_size;
    ASSIGN_OR_RETURN(weights_.embedding, checkpoint_.Find("model.embed_tokens.weight", {config_.vocab_size, hidden}));
    weights_.layers.resize(config_.num_layers);
    for (int64_t layer = 0; layer < config_.num_layers; ++layer) {
      from_ = SourceOf(layer);
      RETURN_IF_ERROR(ReadAttention(absl::StrCat("model.layers.", layer, "."), &weights_.layers[layer]));
      RETURN_IF_ERROR(ReadMlp(absl::StrCat("model.layers.", layer, "."), &weights_.layers[layer]));
    }
    from_ = {&checkpoint_, options_.weights};
    RETURN_IF_ERROR(ReadVector("model.norm.weight", hidden, &weights_.final_norm));
    RETURN_IF_ERROR(ReadHead());
    RETURN_IF_ERROR(panels_.Run(options_.progress));
    const auto most = std::max_element(bytes_of_type_.begin(), bytes_of_type_.end());
    weights_.type = static_cast<kernels::WeightType>(most - bytes_of_type_.begin());
    return std::move(weights_);
  }

 private:
  struct Source {
    const Checkpoint* checkpoint;
    WeightOptions options;
  };

  Source SourceOf(int64_t layer) const {
    const bool is_fine = options_.copy.has_value() && layer >= config_.num_layers - options_.copy->fine_layers;
    if (is_fine) return {options_.copy->original.get(), options_.copy->fine_weights};
    return {&checkpoint_, options_.weights};
  }

  absl::Status ReadAttention(const std::string& layer, LayerWeights* out) {
    const int64_t hidden = config_.hidden_size;
    const int64_t head_dim = config_.head_dim;
    const int64_t q_rows = config_.num_q_heads * head_dim;
    const int64_t kv_rows = config_.num_kv_heads * head_dim;
    const std::string attention = layer + "self_attn.";
    const UnitRange q = {plan_.q_heads.begin * head_dim, plan_.q_heads.end * head_dim};
    const UnitRange kv = {plan_.kv_heads.begin * head_dim, plan_.kv_heads.end * head_dim};
    const std::vector<RowsOf> qkv = {
        {attention + "q_proj", q_rows, q}, {attention + "k_proj", kv_rows, kv}, {attention + "v_proj", kv_rows, kv}};

    RETURN_IF_ERROR(ReadVector(layer + "input_layernorm.weight", hidden, &out->attention_norm));
    RETURN_IF_ERROR(ReadMatrix(qkv, {0, hidden}, {0, hidden}, &out->qkv));
    if (config_.qkv_bias) RETURN_IF_ERROR(ReadBias(qkv, &out->qkv_bias));
    if (config_.qk_norm) {
      RETURN_IF_ERROR(ReadVector(attention + "q_norm.weight", head_dim, &out->q_norm));
      RETURN_IF_ERROR(ReadVector(attention + "k_norm.weight", head_dim, &out->k_norm));
    }
    const std::vector<RowsOf> output = {{attention + "o_proj", hidden, {0, hidden}}};
    RETURN_IF_ERROR(ReadMatrix(output, plan_.attention.all_leaf_starts, plan_.attention.columns, &out->output));
    if (config_.output_bias) RETURN_IF_ERROR(ReadBias(output, &out->output_bias));
    return absl::OkStatus();
  }

  absl::Status ReadMlp(const std::string& layer, LayerWeights* out) {
    const int64_t hidden = config_.hidden_size;
    const int64_t intermediate = config_.intermediate_size;
    const std::vector<RowsOf> gate_up = {{layer + "mlp.gate_proj", intermediate, plan_.mlp.columns},
                                         {layer + "mlp.up_proj", intermediate, plan_.mlp.columns}};
    const std::vector<RowsOf> down = {{layer + "mlp.down_proj", hidden, {0, hidden}}};

    RETURN_IF_ERROR(ReadVector(layer + "post_attention_layernorm.weight", hidden, &out->mlp_norm));
    RETURN_IF_ERROR(ReadMatrix(gate_up, {0, hidden}, {0, hidden}, &out->gate_up));
    RETURN_IF_ERROR(ReadMatrix(down, plan_.mlp.all_leaf_starts, plan_.mlp.columns, &out->down));
    if (config_.mlp_bias) {
      RETURN_IF_ERROR(ReadBias(gate_up, &out->gate_up_bias));
      RETURN_IF_ERROR(ReadBias(down, &out->down_bias));
    }
    return absl::OkStatus();
  }

  absl::Status ReadHead() {
    const int64_t hidden = config_.hidden_size;
    // Every rank embeds every token, but checks its own share of the rows only: together they check all. Where the
    // head is tied, packing it checks the same rows.
    if (!config_.tied_embeddings) panels_.AddCheck({{{weights_.embedding, plan_.vocab}}, {0, hidden}});
    return ReadMatrix({{HeadModule(config_), config_.vocab_size, plan_.vocab}}, {0, hidden}, {0, hidden},
                      &weights_.head);
  }

  // Rows of a projection, which has `total` of them; `module` is the name without ".weight" or ".bias".
  struct RowsOf {
    std::string module;
    int64_t total;
    UnitRange rows;
  };

  // The given rows of all modules, one below the other. `leaf_starts` are those of the whole matrix, its columns last.
  absl::Status ReadMatrix(const std::vector<RowsOf>& modules, absl::Span<const int64_t> leaf_starts, UnitRange columns,
                          PackedMatrix* out) {
    std::vector<MatrixSource> sources;  // by section
    std::vector<MatrixFormat> formats;
    for (const RowsOf& module : modules) {
      ASSIGN_OR_RETURN(TensorView tensor,
                       from_.checkpoint->Find(module.module + ".weight", {module.total, leaf_starts.back()}));
      if (module.rows.size() == 0) continue;
      const MatrixFormat format = ChooseMatrixFormat(from_.options, NativeFormat(tensor), leaf_starts);
      const bool joins =
          !formats.empty() && formats.back().format == format.format && formats.back().is_stored == format.is_stored;
      if (!joins) {
        sources.push_back({{}, columns});
        formats.push_back(format);
      }
      sources.back().parts.push_back({std::move(tensor), module.rows});
      out->rows += module.rows.size();
    }
    out->columns = columns.size();
    if (out->columns == 0) return absl::OkStatus();
    for (size_t i = 0; i < sources.size(); ++i) {
      RETURN_IF_ERROR(AddSection(std::move(sources[i]), formats[i], out));
    }
    return absl::OkStatus();
  }

  absl::Status AddSection(MatrixSource source, const MatrixFormat& format, PackedMatrix* out) {
    PackedMatrix::Section& section = out->sections.emplace_back();
    section.format = format.format;
    section.rows = source.rows();
    const size_t bytes = backend_->PackedBytes(section.format, section.rows, out->columns);
    ASSIGN_OR_RETURN(section.packed, Buffer::Create(backend_, bytes, "weights"));
    weights_.bytes += bytes;
    bytes_of_type_[static_cast<int>(section.format.type)] += bytes;
    panels_.Add(std::move(source), format, section.packed.data());
    return absl::OkStatus();
  }

  absl::Status ReadBias(const std::vector<RowsOf>& modules, Buffer* out) {
    int64_t count = 0;
    for (const RowsOf& module : modules) count += module.rows.size();
    RETURN_IF_ERROR(AllocateVector(count, out));
    float* next = out->floats();
    for (const RowsOf& module : modules) {
      if (module.rows.size() == 0) continue;
      ASSIGN_OR_RETURN(TensorView tensor, from_.checkpoint->Find(module.module + ".bias", {module.total}));
      RETURN_IF_ERROR(ReadRows({{{std::move(tensor), {0, 1}}}, module.rows}, 0, 1, next));
      next += module.rows.size();
    }
    return absl::OkStatus();
  }

  absl::Status ReadVector(const std::string& name, int64_t count, Buffer* out) {
    ASSIGN_OR_RETURN(TensorView tensor, from_.checkpoint->Find(name, {count}));
    RETURN_IF_ERROR(AllocateVector(count, out));
    return ReadRows({{{std::move(tensor), {0, 1}}}, {0, count}}, 0, 1, out->floats());
  }

  absl::Status AllocateVector(int64_t count, Buffer* out) {
    ASSIGN_OR_RETURN(*out, Buffer::Create(backend_, count * sizeof(float), "weights"));
    weights_.bytes += count * sizeof(float);
    return absl::OkStatus();
  }

  const Checkpoint& checkpoint_;
  const ModelConfig& config_;
  const ShardPlan& plan_;
  kernels::Backend* backend_;
  const ModelOptions& options_;
  Source from_ = {};  // of what is read now
  PanelLoader panels_;
  ModelWeights weights_;
  std::array<uint64_t, kernels::kNumWeightTypes> bytes_of_type_ = {};
};

}  // namespace

std::string HeadName(const ModelConfig& config) { return absl::StrCat(HeadModule(config), ".weight"); }

absl::StatusOr<ModelWeights> LoadModelWeights(const Checkpoint& checkpoint, const ShardPlan& plan,
                                              kernels::Backend* backend, const ModelOptions& options) {
  return WeightsReader(checkpoint, plan, backend, options).Read();
}

}  // namespace slmmesh
