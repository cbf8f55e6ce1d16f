#include "worker/collective/halving_sum.h"

#include <cstring>
#include <iostream>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace slmmesh {
namespace {

// The definition, one element at a time. Returns false when no part is present.
bool Reference(const std::vector<const float*>& parts, size_t lo, size_t hi, size_t i, float* out) {
  if (hi - lo == 1) {
    if (parts[lo] == nullptr) return false;
    *out = parts[lo][i];
    return true;
  }
  const size_t mid = (lo + hi) / 2;
  float left = 0;
  float right = 0;
  const bool has_left = Reference(parts, lo, mid, i, &left);
  const bool has_right = Reference(parts, mid, hi, i, &right);
  *out = has_left && has_right ? left + right : (has_left ? left : right);
  return has_left || has_right;
}

TEST(HalvingSum, EveryMaskOfEverySizeMatchesTheDefinitionToTheBit) {
  const uint32_t seed = std::random_device{}();
  std::cout << "seed " << seed << std::endl;
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  constexpr size_t kCount = 1500;  // more than one tile
  std::vector<std::vector<float>> data(8, std::vector<float>(kCount));
  for (auto& row : data) {
    for (float& value : row) value = normal(random) * std::exp2(static_cast<float>(random() % 20));
  }
  for (size_t size : {1, 2, 4, 8}) {
    for (uint32_t mask = 1; mask < (1u << size); ++mask) {
      std::vector<const float*> parts(size, nullptr);
      for (size_t r = 0; r < size; ++r) {
        if (mask >> r & 1) parts[r] = data[r].data();
      }
      std::vector<float> expected(kCount);
      for (size_t i = 0; i < kCount; ++i) Reference(parts, 0, size, i, &expected[i]);
      std::vector<float> out(kCount, -1);
      SumByHalving(parts, kCount, out.data());
      // Bits are meant, not values: NOLINTNEXTLINE(bugprone-suspicious-memory-comparison)
      ASSERT_EQ(std::memcmp(out.data(), expected.data(), kCount * sizeof(float)), 0)
          << "size " << size << " mask " << mask;
      for (size_t r = 0; r < size; ++r) {  // in place, over any of the parts
        if (parts[r] == nullptr) continue;
        std::vector<float> in_place = data[r];
        std::vector<const float*> aliased = parts;
        aliased[r] = in_place.data();
        SumByHalving(aliased, kCount, in_place.data());
        ASSERT_EQ(in_place, expected) << "size " << size << " mask " << mask << " in place of " << r;
      }
    }
  }
}

}  // namespace
}  // namespace slmmesh
