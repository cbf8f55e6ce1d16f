#include "worker/checkpoint/digest.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/files.h"

namespace slmmesh {
namespace {

constexpr size_t kPageBytes = 4096;
constexpr size_t kSampledPages = 256;

absl::Span<const uint8_t> Bytes(absl::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

}  // namespace

void CheckpointDigest::AddBytes(absl::string_view name, absl::Span<const uint8_t> bytes) {
  absl::StrAppend(&lines_, name, " ", bytes.size(), " ", Sha256Hex(bytes), "\n");
}

void CheckpointDigest::AddText(absl::string_view name, absl::string_view text) { AddBytes(name, Bytes(text)); }

void CheckpointDigest::AddSample(absl::string_view name, absl::Span<const uint8_t> bytes) {
  const size_t pages = (bytes.size() + kPageBytes - 1) / kPageBytes;
  const size_t sampled = std::min(pages, kSampledPages);
  std::string sample;
  sample.reserve(sampled * kPageBytes);
  for (size_t i = 0; i < sampled; ++i) {
    const size_t page = sampled == 1 ? 0 : i * (pages - 1) / (sampled - 1);
    const absl::Span<const uint8_t> part = bytes.subspan(page * kPageBytes, kPageBytes);
    sample.append(reinterpret_cast<const char*>(part.data()), part.size());
  }
  absl::StrAppend(&lines_, name, " ", bytes.size(), " sample ", Sha256Hex(Bytes(sample)), "\n");
}

std::string CheckpointDigest::Finish() const { return Sha256Hex(Bytes(lines_)); }

}  // namespace slmmesh
