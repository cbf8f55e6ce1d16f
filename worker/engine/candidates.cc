#include "worker/engine/candidates.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "worker/engine/logit_row.h"

namespace slmmesh {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();
constexpr int32_t kUnitWeight = 1 << 30;  // the weight of the likeliest token

int64_t ChunksOf(size_t size) { return (static_cast<int64_t>(size) + kRowChunk - 1) / kRowChunk; }

MESH_PER_INSTRUCTION_SET void ScaleRow(const float* logits, int64_t size, float max_logit, float temperature,
                                       float* scaled) {
  for (int64_t i = 0; i < size; ++i) scaled[i] = (logits[i] - max_logit) / temperature;
}

// Gives the sum of the weights.
MESH_PER_INSTRUCTION_SET int64_t Weigh(const float* scaled, int64_t chunks, int32_t* weights) {
  constexpr float kUnit = static_cast<float>(kUnitWeight);
  int64_t mass = 0;
  for (int64_t begin = 0; begin < chunks * kRowChunk; begin += kRowChunk) {
    for (int64_t i = begin; i < begin + kRowChunk; ++i) {
      // Never negative, and lround would not vectorize: NOLINTNEXTLINE(bugprone-incorrect-roundings)
      weights[i] = static_cast<int32_t>(ExpNonPositive(scaled[i]) * kUnit + 0.5f);
    }
    for (int64_t i = begin; i < begin + kRowChunk; ++i) mass += weights[i];
  }
  return mass;
}

// The sum of the weights that are at least `floor`.
MESH_PER_INSTRUCTION_SET int64_t MassAtLeast(const int32_t* weights, int64_t size, int32_t floor) {
  int64_t mass = 0;
  for (int64_t i = 0; i < size; ++i) mass += weights[i] >= floor ? weights[i] : 0;
  return mass;
}

// Moves the entries whose key is at least `floor` to the front of all three arrays, in order, and returns how many
// there are. The keys may be `scaled` itself.
template <typename Key>
[[gnu::always_inline]] inline size_t CompactChunks(Key floor, int64_t chunks, Key* keys, uint32_t* ids, float* scaled) {
  size_t kept = 0;
  for (int64_t begin = 0; begin < chunks * kRowChunk; begin += kRowChunk) {
    uint32_t any = 0;
    for (int64_t i = begin; i < begin + kRowChunk; ++i) any |= keys[i] >= floor ? 1u : 0u;
    if (any == 0) continue;
    for (int64_t i = begin; i < begin + kRowChunk; ++i) {
      const bool stays = keys[i] >= floor;  // unpredictable: no branch on it
      keys[kept] = keys[i];
      ids[kept] = ids[i];
      scaled[kept] = scaled[i];
      kept += stays ? 1 : 0;
    }
  }
  return kept;
}

MESH_PER_INSTRUCTION_SET size_t CompactByScaled(float floor, int64_t chunks, uint32_t* ids, float* scaled) {
  return CompactChunks<float>(floor, chunks, scaled, ids, scaled);
}

MESH_PER_INSTRUCTION_SET size_t CompactByWeight(int32_t floor, int64_t chunks, int32_t* weights, uint32_t* ids,
                                                float* scaled) {
  return CompactChunks<int32_t>(floor, chunks, weights, ids, scaled);
}

// An upper bound of each score of a chunk; true when one of them reaches `best`.
[[gnu::always_inline]] inline bool BoundChunk(const uint32_t* ids, const float* scaled, NoiseKey key, float best,
                                              float* bounds) {
  uint32_t any = 0;
  for (int64_t i = 0; i < kRowChunk; ++i) {
    bounds[i] = scaled[i] + GumbelBound(NoiseBits(key, ids[i]));
    any |= bounds[i] >= best ? 1u : 0u;
  }
  return any != 0;
}

// The exact noise is computed only where its cheap bound could come first or second. `best` starts as the likeliest
// token, at 0 plus its noise: whatever can win stands within 30 of it, where the bound's slack exceeds all rounding.
MESH_PER_INSTRUCTION_SET LeadingToken ChooseByNoise(const uint32_t* ids, const float* scaled, int64_t chunks,
                                                    NoiseKey key, uint32_t best_id) {
  double best = GumbelNoise(NoiseBits(key, best_id));
  double second = static_cast<double>(kNever);
  float bounds[kRowChunk];
  for (int64_t begin = 0; begin < chunks * kRowChunk; begin += kRowChunk) {
    if (!BoundChunk(ids + begin, scaled + begin, key, static_cast<float>(second), bounds)) continue;
    for (int64_t i = 0; i < kRowChunk; ++i) {
      const uint32_t id = ids[begin + i];
      if (!(bounds[i] >= static_cast<float>(second)) || id == best_id) continue;
      const double score = static_cast<double>(scaled[begin + i]) + GumbelNoise(NoiseBits(key, id));
      if (score > best || (score == best && id < best_id)) {
        second = best;
        best = score;
        best_id = id;
      } else {
        second = std::max(second, score);
      }
    }
  }
  return {best_id, static_cast<float>(best - second)};
}

// A floor whose mass is at least `target`, not far below the largest such floor. Most distributions are peaked: then
// few weights are left to look for the exact floor in.
int32_t CoarseNucleusFloor(const std::vector<int32_t>& weights, int64_t target) {
  int32_t floor = kUnitWeight / 16;
  while (floor > 1 && MassAtLeast(weights.data(), static_cast<int64_t>(weights.size()), floor) < target) floor /= 16;
  return std::max(floor, 1);
}

// The largest floor whose mass is at least `target`, given one, `low`, that is low enough, and the weights from there
// on, which it uses up. A quickselect by mass: what is known to lie above or below the floor is not looked at again.
int32_t NucleusFloor(std::vector<int32_t>* weights, int32_t low, int64_t target) {
  int64_t mass_above = 0;  // of weights ≥ high
  int32_t high = kUnitWeight + 1;
  while (high - low > 1) {
    const int32_t middle = std::max(low + 1, (*weights)[weights->size() / 2]);
    const int64_t mass = mass_above + MassAtLeast(weights->data(), static_cast<int64_t>(weights->size()), middle);
    const bool is_low_enough = mass >= target;
    size_t kept = 0;
    for (int32_t weight : *weights) {
      (*weights)[kept] = weight;
      kept += (weight >= middle) == is_low_enough ? 1 : 0;
    }
    weights->resize(kept);
    if (!is_low_enough) mass_above = mass;
    (is_low_enough ? low : high) = middle;
  }
  return low;
}

}  // namespace

void Candidates::Reset(absl::Span<const float> logits, float max_logit, float temperature) {
  size_ = logits.size();
  const size_t padded = static_cast<size_t>(ChunksOf(size_) * kRowChunk);
  scaled_.resize(padded);
  ids_.resize(padded);
  for (size_t i = 0; i < padded; ++i) ids_[i] = static_cast<uint32_t>(i);
  ScaleRow(logits.data(), static_cast<int64_t>(size_), max_logit, temperature, scaled_.data());
  PadLastChunk();
}

void Candidates::PadLastChunk() {
  std::fill(scaled_.begin() + size_, scaled_.begin() + ChunksOf(size_) * kRowChunk, kNever);
}

void Candidates::FilterMinP(float min_p) { FilterByScaled(static_cast<float>(Log(min_p))); }

void Candidates::FilterTopK(uint32_t k) {
  if (k >= size_) return;
  ChunkMaxima(scaled(), &maxima_);
  FilterByScaled(KthLargest(scaled(), maxima_, k, &values_));
}

void Candidates::FilterTopP(float top_p) {
  weights_.resize(static_cast<size_t>(ChunksOf(size_) * kRowChunk));
  const int64_t total = Weigh(scaled_.data(), ChunksOf(size_), weights_.data());
  const double wanted = std::ceil(static_cast<double>(top_p) * static_cast<double>(total));
  const int64_t target = std::max<int64_t>(1, static_cast<int64_t>(wanted));
  const int32_t coarse_floor = CoarseNucleusFloor(weights_, target);
  FilterByWeight(coarse_floor);
  remaining_weights_.assign(weights_.begin(), weights_.begin() + static_cast<ptrdiff_t>(size_));
  FilterByWeight(NucleusFloor(&remaining_weights_, coarse_floor, target));
}

void Candidates::FilterByWeight(int32_t floor) {
  size_ = CompactByWeight(floor, ChunksOf(size_), weights_.data(), ids_.data(), scaled_.data());
  const int64_t padded = ChunksOf(size_) * kRowChunk;
  std::fill(weights_.begin() + static_cast<ptrdiff_t>(size_), weights_.begin() + padded, 0);
  PadLastChunk();
}

void Candidates::FilterByScaled(float floor) {
  floor = std::max(floor, std::numeric_limits<float>::lowest());  // -infinity is no candidate, and neither is padding
  size_ = CompactByScaled(floor, ChunksOf(size_), ids_.data(), scaled_.data());
  PadLastChunk();
}

LeadingToken Candidates::Choose(NoiseKey key) const {
  // The likeliest token is never filtered out, and stands at exactly 0.
  const auto likeliest = std::find(scaled_.begin(), scaled_.begin() + size_, 0.0f);
  return ChooseByNoise(ids_.data(), scaled_.data(), ChunksOf(size_), key, ids_[likeliest - scaled_.begin()]);
}

}  // namespace slmmesh
