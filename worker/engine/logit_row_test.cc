#include "worker/engine/logit_row.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <random>

namespace slmmesh {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(LogitRowTest, AgreesWithSorting) {
  for (uint32_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    std::vector<float> row(1 + random() % 700);
    const uint32_t distinct = 1 + random() % 1000;  // few distinct values: many ties
    for (float& value : row) value = static_cast<float>(random() % distinct) - 500;
    if (seed % 3 == 0) row[random() % row.size()] = -kInfinity;

    std::vector<float> maxima, scratch;
    ChunkMaxima(row, &maxima);
    ASSERT_EQ(FirstArgmax(row, maxima), std::max_element(row.begin(), row.end()) - row.begin());
    std::vector<float> sorted = row;
    std::sort(sorted.begin(), sorted.end(), std::greater<float>());
    const uint32_t argmax = FirstArgmax(row, maxima);
    ASSERT_EQ(SecondLargest(row, maxima, argmax), row.size() == 1 ? -kInfinity : sorted[1]);
    for (uint32_t k : {1u, 2u, 5u, static_cast<uint32_t>(row.size() / 2 + 1), static_cast<uint32_t>(row.size())}) {
      if (k > row.size()) continue;
      ASSERT_EQ(KthLargest(row, maxima, k, &scratch), sorted[k - 1]) << "k " << k;
    }
  }
}

TEST(LogitRowTest, NaNIsNeverTheLargest) {
  std::vector<float> row(200, std::numeric_limits<float>::quiet_NaN());
  row[150] = -3;
  std::vector<float> maxima, scratch;
  ChunkMaxima(row, &maxima);
  EXPECT_EQ(FirstArgmax(row, maxima), 150u);
  EXPECT_EQ(KthLargest(row, maxima, 2, &scratch), -kInfinity);
}

}  // namespace
}  // namespace slmmesh
