#include "worker/checkpoint/checkpoint.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "worker/checkpoint/gguf_checkpoint.h"
#include "worker/checkpoint/hugging_face_checkpoint.h"

namespace slmmesh {

absl::StatusOr<std::unique_ptr<Checkpoint>> Checkpoint::Open(const std::string& path, const std::string& sha256) {
  if (absl::EndsWithIgnoreCase(path, ".gguf")) return OpenGgufFile(path, sha256);
  if (!sha256.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": sha256 is given; expected it with a .gguf file only"));
  }
  return OpenHuggingFaceFolder(path);
}

}  // namespace slmmesh
