#include "worker/checkpoint/hugging_face_checkpoint.h"

#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "common/files.h"
#include "common/status.h"
#include "worker/checkpoint/config_json.h"
#include "worker/checkpoint/digest.h"
#include "worker/checkpoint/hugging_face_text.h"
#include "worker/checkpoint/mapped_checkpoint.h"
#include "worker/checkpoint/quantization_config.h"
#include "worker/checkpoint/quantized_tensors.h"
#include "worker/checkpoint/safetensors.h"

namespace slmmesh {
namespace {

// Maps one file and adds its tensors. `files`, unless null, is where the index puts each tensor.
absl::Status AddShard(const std::string& folder, const std::string& file,
                      const absl::flat_hash_map<std::string, std::string>* files, CheckpointParts& parts,
                      CheckpointDigest& digest) {
  const std::string path = absl::StrCat(folder, "/", file);
  ASSIGN_OR_RETURN(std::shared_ptr<const MappedFile> mapped, MappedFile::Open(path));
  ASSIGN_OR_RETURN(std::vector<TensorView> tensors, ParseSafetensors(path, mapped->bytes()));
  for (TensorView& tensor : tensors) {
    if (files != nullptr) {
      const auto entry = files->find(tensor.name);
      if (entry == files->end() || entry->second != file) {
        return absl::InvalidArgumentError(absl::StrCat(path, ": tensor `", tensor.name, "` is here; expected it in ",
                                                       entry == files->end() ? "no file" : entry->second,
                                                       ", as the index says"));
      }
    }
    RETURN_IF_ERROR(Annotate(parts.tensors.Add(std::move(tensor)), path));
  }
  const size_t data_offset = SafetensorsDataOffset(mapped->bytes());
  digest.AddBytes(absl::StrCat(file, " header"), mapped->bytes().subspan(0, data_offset));
  digest.AddSample(file, mapped->bytes().subspan(data_offset));
  parts.files.push_back(std::move(mapped));
  return absl::OkStatus();
}

absl::Status AddIndexedShards(const std::string& folder, const std::string& index_text, CheckpointParts& parts,
                              CheckpointDigest& digest) {
  const std::string where = folder + "/model.safetensors.index.json";
  ASSIGN_OR_RETURN(const ShardIndex index, ParseShardIndex(where, index_text));
  absl::flat_hash_map<std::string, std::string> files;
  for (const ShardIndex::Entry& entry : index.entries) files.emplace(entry.tensor, entry.file);
  for (const std::string& file : index.files) {
    RETURN_IF_ERROR(Annotate(AddShard(folder, file, &files, parts, digest), where));
  }
  for (const ShardIndex::Entry& entry : index.entries) {
    if (!parts.tensors.Has(entry.tensor)) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, ": tensor `", entry.tensor, "` is not in ", entry.file, " as the index says"));
    }
  }
  return absl::OkStatus();
}

absl::Status AddTensors(const std::string& folder, CheckpointParts& parts, CheckpointDigest& digest) {
  const absl::Status single = AddShard(folder, "model.safetensors", nullptr, parts, digest);
  if (!absl::IsNotFound(single)) return single;
  ASSIGN_OR_RETURN(const std::string index, ReadOptionalFile(folder + "/model.safetensors.index.json"));
  if (index.empty()) {
    return absl::NotFoundError(absl::StrCat(folder,
                                            ": holds neither model.safetensors nor model.safetensors.index.json",
                                            " (other formats, such as .bin, are not read: convert them)"));
  }
  return AddIndexedShards(folder, index, parts, digest);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Checkpoint>> OpenHuggingFaceFolder(const std::string& folder) {
  const std::string config_path = folder + "/config.json";
  ASSIGN_OR_RETURN(const std::string config_text, ReadFile(config_path));
  ASSIGN_OR_RETURN(const Json json, ParseJson(config_path, config_text));
  ASSIGN_OR_RETURN(const JsonFields fields, JsonFields::Create(config_path, json));

  CheckpointParts parts;
  CheckpointDigest digest;
  digest.AddText("config.json", config_text);
  ASSIGN_OR_RETURN(parts.config, ReadModelConfig(fields));
  ASSIGN_OR_RETURN(HuggingFaceText text, ReadHuggingFaceText(folder, fields, parts.config.vocab_size));
  parts.text = std::move(text.text);
  parts.generation = text.generation;
  digest.AddText("tokenizer", parts.text.tokenizer_json);
  digest.AddText("chat template", parts.text.chat_template);
  ASSIGN_OR_RETURN(const QuantizationConfig quantization, ReadQuantizationConfig(fields));
  RETURN_IF_ERROR(AddTensors(folder, parts, digest));
  RETURN_IF_ERROR(Annotate(JoinQuantizedTensors(quantization, parts.tensors), folder));
  RETURN_IF_ERROR(Annotate(CheckTensors(parts.tensors, parts.config), folder));
  parts.digest = digest.Finish();
  return std::unique_ptr<Checkpoint>(new MappedCheckpoint(std::move(parts)));
}

}  // namespace slmmesh
