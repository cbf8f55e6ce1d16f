// The safetensors format: 8 bytes of header length, a JSON header, then the tensors' bytes without gaps.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "worker/checkpoint/checkpoint.h"

namespace slmmesh {

// A file's tensors as views into `file`, checked: known types, shapes of 1 or 2 dimensions, lengths that fit them, no
// overlap, no gap, nothing missing at the end. `where` names the file in errors.
absl::StatusOr<std::vector<TensorView>> ParseSafetensors(const std::string& where, absl::Span<const uint8_t> file);

// Where the tensors' bytes begin; 0 for a file that ParseSafetensors refuses for its header's length.
size_t SafetensorsDataOffset(absl::Span<const uint8_t> file);

// model.safetensors.index.json: which file holds which tensor.
struct ShardIndex {
  struct Entry {
    std::string tensor;
    std::string file;  // a plain name, in the index's folder
  };
  std::vector<Entry> entries;
  std::vector<std::string> files;  // each once, sorted
};
absl::StatusOr<ShardIndex> ParseShardIndex(const std::string& where, const std::string& text);

}  // namespace slmmesh
