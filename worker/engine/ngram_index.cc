#include "worker/engine/ngram_index.h"

#include <algorithm>

#include "common/mix.h"

namespace slmmesh {
namespace {

uint64_t HashOf(absl::Span<const uint32_t> ngram) {
  uint64_t hash = ngram.size();
  for (const uint32_t token : ngram) hash = Mix64(hash + kMixGolden + token);
  return hash;
}

}  // namespace

void NgramIndex::Add(absl::Span<const uint32_t> tokens) {
  // The n-grams that end with the last token have no continuation yet.
  for (uint32_t end = num_indexed_ + 1; end < tokens.size(); ++end) {
    for (uint32_t n = kShortest; n <= kLongest && n <= end; ++n) {
      continuations_[HashOf(tokens.subspan(end - n, n))] = end;
    }
    num_indexed_ = end;
  }
}

std::vector<uint32_t> NgramIndex::Continue(absl::Span<const uint32_t> tokens, uint32_t count) {
  Add(tokens);
  std::vector<uint32_t> guesses;
  for (uint32_t n = std::min<uint32_t>(kLongest, static_cast<uint32_t>(tokens.size())); n >= kShortest; --n) {
    const absl::Span<const uint32_t> suffix = tokens.subspan(tokens.size() - n);
    const auto found = continuations_.find(HashOf(suffix));
    if (found == continuations_.end() || tokens.subspan(found->second - n, n) != suffix) continue;
    for (uint32_t i = 0; i < count; ++i) {
      const size_t from = found->second + i;
      guesses.push_back(from < tokens.size() ? tokens[from] : guesses[from - tokens.size()]);
    }
    break;
  }
  return guesses;
}

}  // namespace slmmesh
