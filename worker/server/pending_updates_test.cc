#include "worker/server/pending_updates.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace slmmesh {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

v1::SessionResponse Events(std::initializer_list<BlockHash> stored, std::initializer_list<BlockHash> evicted) {
  v1::SessionResponse update;
  for (const BlockHash hash : stored) update.mutable_block_events()->add_stored(hash);
  for (const BlockHash hash : evicted) update.mutable_block_events()->add_evicted(hash);
  return update;
}

TEST(PendingUpdates, AppendsOutputsAndKeepsTheLastLoad) {
  PendingUpdates pending;
  EXPECT_TRUE(pending.empty());
  for (uint32_t i = 0; i < 3; ++i) {
    v1::SessionResponse update;
    update.add_outputs()->set_index(i);
    update.mutable_load()->set_running(i);
    pending.Add(std::move(update));
  }
  EXPECT_EQ(pending.num_outputs(), 3);
  const v1::SessionResponse taken = pending.Take();
  ASSERT_EQ(taken.outputs_size(), 3);
  for (uint32_t i = 0; i < 3; ++i) EXPECT_EQ(taken.outputs(i).index(), i);
  EXPECT_EQ(taken.load().running(), 2u);
  EXPECT_FALSE(taken.has_block_events());
  EXPECT_TRUE(pending.empty());
  EXPECT_EQ(pending.Take().outputs_size(), 0);
}

TEST(PendingUpdates, OfABlockOnlyTheLastEventCounts) {
  PendingUpdates pending;
  pending.Add(Events({1, 2}, {3}));
  pending.Add(Events({3}, {2}));
  pending.Add(Events({2}, {1}));
  const v1::SessionResponse taken = pending.Take();
  EXPECT_THAT(taken.block_events().stored(), UnorderedElementsAre(2, 3));
  EXPECT_THAT(taken.block_events().evicted(), ElementsAre(1));
  EXPECT_FALSE(taken.block_events().reset());
}

TEST(PendingUpdates, AResetForgetsWhatWasBefore) {
  PendingUpdates pending;
  pending.Add(Events({1}, {2}));
  v1::SessionResponse reset = Events({5}, {});
  reset.mutable_block_events()->set_reset(true);
  pending.Add(std::move(reset));
  const v1::SessionResponse taken = pending.Take();
  EXPECT_TRUE(taken.block_events().reset());
  EXPECT_THAT(taken.block_events().stored(), ElementsAre(5));
  EXPECT_THAT(taken.block_events().evicted(), IsEmpty());
}

}  // namespace
}  // namespace slmmesh
