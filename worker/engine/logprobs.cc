#include "worker/engine/logprobs.h"

#include <algorithm>

#include "worker/engine/logit_row.h"
#include "worker/engine/math.h"

namespace slmmesh {
namespace {

constexpr int kLanes = 16;

// The exponentials of a stretch are one simple loop, which the compiler vectorises; their sum another.
MESH_PER_INSTRUCTION_SET double SumOfExp(const float* logits, int64_t size, float max_logit) {
  constexpr int64_t kStretch = 256;
  double lanes[kLanes] = {};
  float exponentials[kStretch];
  for (int64_t begin = 0; begin < size; begin += kStretch) {
    const int64_t count = std::min(kStretch, size - begin);
    for (int64_t i = 0; i < count; ++i) exponentials[i] = ExpNonPositive(logits[begin + i] - max_logit);
    for (int64_t i = count; i < kStretch; ++i) exponentials[i] = 0;
    for (int64_t i = 0; i < kStretch; i += kLanes) {
      for (int lane = 0; lane < kLanes; ++lane) lanes[lane] += static_cast<double>(exponentials[i + lane]);
    }
  }
  for (int half = kLanes / 2; half > 0; half /= 2) {
    for (int lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
  }
  return lanes[0];
}

}  // namespace

RowLogprobs::RowLogprobs(absl::Span<const float> logits) : logits_(logits) {
  ChunkMaxima(logits, &maxima_);
  const float max_logit = *std::max_element(maxima_.begin(), maxima_.end());
  log_sum_ =
      static_cast<double>(max_logit) + Log(SumOfExp(logits.data(), static_cast<int64_t>(logits.size()), max_logit));
}

float RowLogprobs::Of(uint32_t token) const {
  return static_cast<float>(static_cast<double>(logits_[token]) - log_sum_);
}

std::vector<TokenAndLogprob> RowLogprobs::Top(uint32_t count) const {
  std::vector<TokenAndLogprob> top;
  count = std::min<uint32_t>(count, static_cast<uint32_t>(logits_.size()));
  if (count == 0) return top;
  std::vector<float> scratch;
  const float floor = KthLargest(logits_, maxima_, count, &scratch);
  std::vector<uint32_t> ids;
  for (size_t c = 0; c < maxima_.size(); ++c) {
    if (maxima_[c] < floor) continue;
    const size_t end = std::min(logits_.size(), (c + 1) * kRowChunk);
    for (size_t i = c * kRowChunk; i < end; ++i) {
      if (logits_[i] >= floor) ids.push_back(static_cast<uint32_t>(i));
    }
  }
  count = std::min<uint32_t>(count, static_cast<uint32_t>(ids.size()));
  std::partial_sort(ids.begin(), ids.begin() + count, ids.end(), [this](uint32_t a, uint32_t b) {
    return logits_[a] != logits_[b] ? logits_[a] > logits_[b] : a < b;
  });
  for (uint32_t i = 0; i < count; ++i) top.push_back({ids[i], Of(ids[i])});
  return top;
}

}  // namespace slmmesh
