#include "worker/model/likeliest_logits.h"

#include <algorithm>
#include <limits>

#include "worker/quantize/vector_clones.h"

namespace slmmesh {
namespace {

constexpr int64_t kChunk = 64, kLanes = 16;
// What lies further below the largest logit is not likely whatever the head's bits: e^-12 of its probability.
constexpr float kReach = 12;

// Of whole chunks. Lanes, so that it vectorises.
MESH_VECTOR_CLONES void MaximaOfChunks(const float* logits, int64_t chunks, float* maxima) {
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    float lanes[kLanes];
    const float* values = logits + chunk * kChunk;
    for (int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] = values[lane];
    for (int64_t i = kLanes; i < kChunk; i += kLanes) {
      for (int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] = std::max(lanes[lane], values[i + lane]);
    }
    maxima[chunk] = *std::max_element(lanes, lanes + kLanes);
  }
}

MESH_VECTOR_CLONES float Dot(const float* a, const float* b, int64_t count) { return DotInLanes<kLanes>(a, b, count); }

}  // namespace

void LikeliestLogits::Find(const float* logits) {
  const int64_t size = rows_.size(), whole = size / kChunk;
  chunk_maxima_.resize(static_cast<size_t>((size + kChunk - 1) / kChunk));
  MaximaOfChunks(logits, whole, chunk_maxima_.data());
  if (whole * kChunk < size) chunk_maxima_.back() = *std::max_element(logits + whole * kChunk, logits + size);
  const float floor = *std::max_element(chunk_maxima_.begin(), chunk_maxima_.end()) - kReach;
  likeliest_.clear();
  for (size_t chunk = 0; chunk < chunk_maxima_.size(); ++chunk) {
    if (!(chunk_maxima_[chunk] >= floor)) continue;
    const int64_t begin = static_cast<int64_t>(chunk) * kChunk;
    for (int64_t i = begin; i < std::min(begin + kChunk, size); ++i) {
      if (logits[i] >= floor) likeliest_.push_back(i);
    }
  }
  if (static_cast<int64_t>(likeliest_.size()) <= count_) return;
  std::nth_element(likeliest_.begin(), likeliest_.begin() + count_, likeliest_.end(),
                   [logits](int64_t a, int64_t b) { return logits[a] > logits[b]; });
  likeliest_.resize(static_cast<size_t>(count_));
}

void LikeliestLogits::Recompute(const float* normed, float* logits) {
  if (rows_.size() == 0) return;
  Find(logits);
  row_.resize(static_cast<size_t>(head_.columns()));
  for (const int64_t i : likeliest_) {
    ReadTensor(head_, rows_.begin + i, rows_.begin + i + 1, 0, head_.columns(), row_.data());
    logits[i] = Dot(normed, row_.data(), head_.columns());
  }
}

}  // namespace slmmesh
