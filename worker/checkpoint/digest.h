// A checkpoint's identity without reading all of it: a SHA-256 over what is added here. Two fine-tunes of one model
// share sizes and headers, so a sample of the weights is part of it.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace slmmesh {

class CheckpointDigest {
 public:
  // A small file or header, whole. `name` is part of the identity, the path to it is not.
  void AddBytes(absl::string_view name, absl::Span<const uint8_t> bytes);
  void AddText(absl::string_view name, absl::string_view text);
  // Size, and up to 256 pages of 4 KiB at even distances, the first and the last among them.
  void AddSample(absl::string_view name, absl::Span<const uint8_t> bytes);

  // Lowercase hex.
  std::string Finish() const;

 private:
  std::string lines_ = "slm-mesh checkpoint 1\n";
};

}  // namespace slmmesh
