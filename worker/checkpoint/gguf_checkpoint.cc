#include "worker/checkpoint/gguf_checkpoint.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/files.h"
#include "common/status.h"
#include "worker/checkpoint/digest.h"
#include "worker/checkpoint/gguf_config.h"
#include "worker/checkpoint/gguf_file.h"
#include "worker/checkpoint/gguf_tokenizer.h"
#include "worker/checkpoint/mapped_checkpoint.h"

namespace slmmesh {
namespace {

// Converters write Llama's query and key rows with each rotary pair side by side; other families are left alone.
int64_t InterleavedHeads(const ModelConfig& config, absl::string_view name) {
  if (config.architecture != Architecture::kLlama) return 0;
  if (absl::StrContains(name, ".q_proj.")) return config.num_q_heads;
  if (absl::StrContains(name, ".k_proj.")) return config.num_kv_heads;
  return 0;
}

absl::Status AddTensors(const std::string& path, std::vector<TensorView> tensors, CheckpointParts& parts) {
  for (TensorView& tensor : tensors) {
    if (tensor.name == kRopeFactorsName) continue;  // went into the config
    std::optional<std::string> name = HuggingFaceName(tensor.name);
    if (!name) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": tensor `", absl::CHexEscape(tensor.name),
                                                     "` is unknown in a ", ArchitectureName(parts.config.architecture),
                                                     " model"));
    }
    tensor.name = *std::move(name);
    tensor.interleaved_heads = InterleavedHeads(parts.config, tensor.name);
    RETURN_IF_ERROR(Annotate(parts.tensors.Add(std::move(tensor)), path));
  }
  return Annotate(CheckTensors(parts.tensors, parts.config), path);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Checkpoint>> OpenGgufFile(const std::string& path, const std::string& sha256) {
  ASSIGN_OR_RETURN(std::shared_ptr<const MappedFile> mapped, MappedFile::Open(path));
  const absl::Span<const uint8_t> bytes = mapped->bytes();
  if (!sha256.empty()) {
    const std::string actual = Sha256Hex(bytes);
    if (actual != absl::AsciiStrToLower(sha256)) {
      return absl::DataLossError(absl::StrCat(path, ": its SHA-256 is ", actual, "; expected ", sha256));
    }
  }
  ASSIGN_OR_RETURN(GgufFile file, ParseGguf(path, bytes));
  CheckpointParts parts;
  ASSIGN_OR_RETURN(parts.config, ReadGgufConfig(file.metadata, file.tensors));
  RETURN_IF_ERROR(AddTensors(path, std::move(file.tensors), parts));
  ASSIGN_OR_RETURN(parts.text, ReadGgufText(file.metadata, parts.config.vocab_size));

  CheckpointDigest digest;
  digest.AddBytes("gguf header", bytes.subspan(0, file.data_offset));
  digest.AddSample("gguf data", bytes.subspan(file.data_offset));
  parts.digest = digest.Finish();
  parts.files.push_back(std::move(mapped));
  return std::unique_ptr<Checkpoint>(new MappedCheckpoint(std::move(parts)));
}

}  // namespace slmmesh
