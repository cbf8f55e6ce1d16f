#include "worker/engine/logit_row.h"

#include <algorithm>
#include <functional>
#include <limits>

#include "worker/engine/math.h"

namespace slmmesh {
namespace {

constexpr float kLowest = -std::numeric_limits<float>::infinity();
constexpr int kLanes = 16;

MESH_PER_INSTRUCTION_SET void FullChunkMaxima(const float* row, int64_t chunks, float* maxima) {
  for (int64_t c = 0; c < chunks; ++c) {
    float lanes[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] = kLowest;
    for (int64_t i = c * kRowChunk; i < (c + 1) * kRowChunk; i += kLanes) {
      for (int lane = 0; lane < kLanes; ++lane) lanes[lane] = row[i + lane] > lanes[lane] ? row[i + lane] : lanes[lane];
    }
    for (int half = kLanes / 2; half > 0; half /= 2) {
      for (int lane = 0; lane < half; ++lane) lanes[lane] = std::max(lanes[lane], lanes[lane + half]);
    }
    maxima[c] = lanes[0];
  }
}

}  // namespace

void ChunkMaxima(absl::Span<const float> row, std::vector<float>* maxima) {
  const int64_t size = static_cast<int64_t>(row.size());
  const int64_t full = size / kRowChunk;
  maxima->resize((size + kRowChunk - 1) / kRowChunk);
  FullChunkMaxima(row.data(), full, maxima->data());
  if (full * kRowChunk == size) return;
  float last = kLowest;
  for (int64_t i = full * kRowChunk; i < size; ++i) last = row[i] > last ? row[i] : last;
  maxima->back() = last;
}

uint32_t FirstArgmax(absl::Span<const float> row, absl::Span<const float> maxima) {
  const auto chunk = std::max_element(maxima.begin(), maxima.end());  // the first of equals
  const size_t begin = static_cast<size_t>(chunk - maxima.begin()) * kRowChunk;
  for (size_t i = begin; i < row.size(); ++i) {
    if (row[i] == *chunk) return static_cast<uint32_t>(i);
  }
  return 0;  // nothing but NaN
}

float SecondLargest(absl::Span<const float> row, absl::Span<const float> maxima, uint32_t argmax) {
  const size_t chunk = argmax / kRowChunk;
  float second = kLowest;
  for (size_t c = 0; c < maxima.size(); ++c) {
    if (c != chunk) second = std::max(second, maxima[c]);
  }
  const size_t end = std::min(row.size(), (chunk + 1) * kRowChunk);
  for (size_t i = chunk * kRowChunk; i < end; ++i) {
    if (i != argmax) second = std::max(second, row[i]);
  }
  return second;
}

float KthLargest(absl::Span<const float> row, absl::Span<const float> maxima, uint32_t k, std::vector<float>* scratch) {
  std::vector<float>& values = *scratch;
  const auto kth = [&values, k] {
    std::nth_element(values.begin(), values.begin() + (k - 1), values.end(), std::greater<float>());
    return values[k - 1];
  };
  // k chunks have a value of at least the k-th largest maximum, so the k-th largest value is no smaller.
  float bound = kLowest;
  if (k <= maxima.size()) {
    values.assign(maxima.begin(), maxima.end());
    bound = kth();
  }
  values.clear();
  for (size_t c = 0; c < maxima.size(); ++c) {
    if (maxima[c] < bound) continue;
    const size_t end = std::min(row.size(), (c + 1) * kRowChunk);
    for (size_t i = c * kRowChunk; i < end; ++i) {
      if (row[i] >= bound) values.push_back(row[i]);
    }
  }
  return values.size() < k ? kLowest : kth();
}

}  // namespace slmmesh
