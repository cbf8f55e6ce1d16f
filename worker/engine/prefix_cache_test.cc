#include "worker/engine/prefix_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace slmmesh {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

using Tokens = std::vector<uint32_t>;

class PrefixCacheTest : public ::testing::Test {
 protected:
  PrefixCache cache_{8, 2};
};

TEST_F(PrefixCacheTest, FindsWhatWasInserted) {
  EXPECT_EQ(cache_.Find({77, kNoBlock, "a"}, Tokens{1, 2}), std::nullopt);
  EXPECT_EQ(cache_.Insert({77, kNoBlock, "a"}, Tokens{1, 2}, 5), 5u);
  EXPECT_EQ(cache_.Find({77, kNoBlock, "a"}, Tokens{1, 2}), 5u);
  EXPECT_EQ(cache_.Insert({78, 5, "a"}, Tokens{3, 4}, 6), 6u);
  EXPECT_EQ(cache_.Find({78, 5, "a"}, Tokens{3, 4}), 6u);
}

// The same hash each time: nothing but equality may confirm a hit.
TEST_F(PrefixCacheTest, ACollisionIsAMiss) {
  cache_.Insert({77, kNoBlock, "a"}, Tokens{1, 2}, 5);
  EXPECT_EQ(cache_.Find({77, kNoBlock, "a"}, Tokens{1, 3}), std::nullopt);
  EXPECT_EQ(cache_.Find({77, kNoBlock, "a"}, Tokens{3, 2}), std::nullopt);
  EXPECT_EQ(cache_.Find({77, 4, "a"}, Tokens{1, 2}), std::nullopt);
  EXPECT_EQ(cache_.Find({77, kNoBlock, "b"}, Tokens{1, 2}), std::nullopt) << "another tenant's block";
  EXPECT_EQ(cache_.Find({77, kNoBlock, ""}, Tokens{1, 2}), std::nullopt);

  EXPECT_EQ(cache_.Insert({77, kNoBlock, "b"}, Tokens{1, 2}, 6), std::nullopt);
  EXPECT_FALSE(cache_.Holds(6));
  EXPECT_EQ(cache_.Find({77, kNoBlock, "a"}, Tokens{1, 2}), 5u) << "the first one stays";
}

TEST_F(PrefixCacheTest, AnEqualBlockIsNotStoredTwice) {
  cache_.Insert({77, kNoBlock, "a"}, Tokens{1, 2}, 5);
  EXPECT_EQ(cache_.Insert({77, kNoBlock, "a"}, Tokens{1, 2}, 6), 5u);
  EXPECT_FALSE(cache_.Holds(6));
  EXPECT_THAT(cache_.AllHashes(), ElementsAre(77));
}

TEST_F(PrefixCacheTest, ForgetsWhatIsErased) {
  cache_.Insert({77, kNoBlock, "a"}, Tokens{1, 2}, 5);
  cache_.Erase(5);
  cache_.Erase(5);
  EXPECT_EQ(cache_.Find({77, kNoBlock, "a"}, Tokens{1, 2}), std::nullopt);
  EXPECT_THAT(cache_.AllHashes(), IsEmpty());
}

TEST_F(PrefixCacheTest, TellsNetChangesOnce) {
  cache_.Insert({1, kNoBlock, ""}, Tokens{1, 2}, 1);
  cache_.Insert({2, kNoBlock, ""}, Tokens{2, 2}, 2);
  cache_.Erase(2);  // never told of
  PrefixChanges changes = cache_.TakeChanges();
  EXPECT_THAT(changes.stored, ElementsAre(1));
  EXPECT_THAT(changes.evicted, IsEmpty());

  cache_.Erase(1);
  cache_.Insert({1, kNoBlock, ""}, Tokens{1, 2}, 3);  // back again: no change to the outside
  cache_.Insert({4, kNoBlock, ""}, Tokens{4, 2}, 4);
  changes = cache_.TakeChanges();
  EXPECT_THAT(changes.stored, ElementsAre(4));
  EXPECT_THAT(changes.evicted, IsEmpty());

  cache_.Clear();
  changes = cache_.TakeChanges();
  EXPECT_THAT(changes.stored, IsEmpty());
  EXPECT_THAT(changes.evicted, UnorderedElementsAre(1, 4));
}

}  // namespace
}  // namespace slmmesh
