// The pure parts of dispatch: tables.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/time/time.h"
#include "common/files.h"
#include "common/temporary_folder.h"
#include "router/api/request_id.h"
#include "router/dispatch/admission.h"
#include "router/dispatch/api_keys.h"
#include "router/dispatch/block_set.h"
#include "router/dispatch/chooser.h"
#include "router/dispatch/inbox.h"
#include "router/dispatch/wait_list.h"
#include "router/openai/api_error.h"

namespace slmmesh {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(ChooseGroup, PrefixThenLoad) {
  struct Case {
    const char* name;
    std::vector<GroupCandidate> candidates;  // cached_blocks, requests, max_running
    uint64_t turn;
    std::optional<uint32_t> want;
  };
  const Case cases[] = {
      {"nobody", {}, 0, std::nullopt},
      {"the only one, full", {{0, 9, 4}}, 3, 0},
      {"longest prefix, though busier", {{1, 0, 8}, {3, 6, 8}, {2, 0, 8}}, 0, 1},
      {"a full group's prefix waits behind a free place", {{9, 8, 8}, {0, 7, 8}}, 0, 1},
      {"least load among equals", {{2, 5, 8}, {2, 4, 8}, {2, 6, 8}}, 0, 1},
      {"load is a share of the places", {{0, 4, 4}, {0, 5, 64}}, 0, 1},
      {"all full: prefix, then load", {{1, 20, 8}, {2, 30, 8}, {2, 25, 8}}, 0, 2},
      {"idle groups take turns", {{0, 0, 8}, {0, 0, 8}, {0, 0, 8}}, 4, 1},
      {"one that drains comes last", {{9, 0, 8, true}, {0, 8, 8}}, 0, 1},
      {"all drain", {{0, 3, 8, true}, {0, 2, 8, true}}, 0, 1},
      {"places unknown: fewest requests", {{0, 3, 0}, {0, 2, 0}}, 0, 1},
  };
  for (const Case& c : cases) EXPECT_EQ(ChooseGroup(c.candidates, c.turn), c.want) << c.name;
}

TEST(BlockSet, KnowsTheLongestPrefix) {
  BlockSet blocks;
  v1::BlockEvents events;
  for (uint64_t hash : {1, 2, 4}) events.add_stored(hash);
  blocks.Apply(events);
  const std::vector<BlockHash> prompt = {1, 2, 3, 4};
  EXPECT_EQ(blocks.LongestPrefix(prompt), 2u);
  events.Clear();
  events.add_evicted(1);
  blocks.Apply(events);
  EXPECT_EQ(blocks.LongestPrefix(prompt), 0u);
  events.Clear();
  events.set_reset(true);
  events.add_stored(1);
  blocks.Apply(events);
  EXPECT_EQ(blocks.size(), 1u);
}

TEST(EstimateWaitSeconds, PrefillOrPlaces) {
  struct Case {
    const char* name;
    GroupQueue queue;  // requests, max_running, waiting_prompt_tokens, prefill/s, service_seconds
    double want;
  };
  const Case cases[] = {
      {"nothing known", {100, 0, 5000, 0, 0}, 0},  {"prompts ahead", {1, 8, 5000, 1000, 0}, 5},
      {"free places", {7, 8, 0, 1000, 10}, 0},     {"the next place to come free", {8, 8, 0, 1000, 16}, 2},
      {"behind others", {15, 8, 0, 1000, 16}, 16}, {"the longer of both", {8, 8, 5000, 1000, 16}, 5},
  };
  for (const Case& c : cases) EXPECT_DOUBLE_EQ(EstimateWaitSeconds(c.queue), c.want) << c.name;
}

TEST(Admit, BoundsQueuesAndRefusesEarly) {
  struct Case {
    QueueLengths lengths;
    double wait, time;
    bool want;
    int retry_after;
  };
  const QueueLimits limits{/*max_queue=*/10, /*max_queue_per_model=*/5};
  const Case cases[] = {
      {{9, 4}, 1, 1, true, 0},      {{10, 4}, 0, 9, false, 1}, {{9, 5}, 7.2, 9, false, 8}, {{0, 0}, 2.5, 1, false, 2},
      {{0, 0}, 1e9, 1, false, 300}, {{0, 0}, 0, 0, true, 0},   {{0, 0}, 0, -1, false, 1},
  };
  for (const Case& c : cases) {
    const absl::Status status = Admit(limits, c.lengths, c.wait, c.time);
    EXPECT_EQ(status.ok(), c.want) << status;
    if (c.want) continue;
    EXPECT_EQ(ToApiError(status).http_status, 429);
    EXPECT_EQ(ToApiError(status).retry_after_seconds, c.retry_after);
  }
}

TEST(ApiKeys, ReadsLines) {
  const auto keys = ApiKeys::Parse("# comment\n\n alice:a:1 \r\nbob:b2\nbob:b3");
  ASSERT_TRUE(keys.ok()) << keys.status();
  EXPECT_EQ(*keys->TenantOf("Bearer a:1"), "alice");
  EXPECT_EQ(*keys->TenantOf("bearer  b3 "), "bob");
  for (const char* wrong : {"", "Bearer ", "Bearer a", "Basic a:1", "a:1", "Bearer a:1x", "Bearer B2"}) {
    EXPECT_EQ(keys->TenantOf(wrong).status().code(), absl::StatusCode::kUnauthenticated) << wrong;
  }
  for (const char* broken : {"", "# none", "alice", "alice:", ":key", "al ice:key", "alice:k ey"}) {
    EXPECT_FALSE(ApiKeys::Parse(broken).ok()) << broken;
  }
  EXPECT_THAT(std::string(ApiKeys::Parse("a:ok\nsecret-without-tenant").status().message()),
              testing::AllOf(HasSubstr("line 2"), Not(HasSubstr("secret"))));
}

TEST(ApiKeysFile, FollowsTheFile) {
  TemporaryFolder folder;
  const std::string path = folder / "keys";
  EXPECT_FALSE(ApiKeysFile::Open(path).ok());
  ASSERT_TRUE(WriteFileAtomic(path, "alice:a\n").ok());
  const auto file = ApiKeysFile::Open(path).value();
  EXPECT_TRUE(file->TenantOf("Bearer a").ok());
  ASSERT_TRUE(WriteFileAtomic(path, "alice:longer\n").ok());
  file->Refresh();
  EXPECT_FALSE(file->TenantOf("Bearer a").ok());
  EXPECT_TRUE(file->TenantOf("Bearer longer").ok());
  ASSERT_TRUE(WriteFileAtomic(path, "broken").ok());
  file->Refresh();
  EXPECT_TRUE(file->TenantOf("Bearer longer").ok()) << "the last good file holds";
  EXPECT_EQ(*ApiKeysFile::Open("").value()->TenantOf(""), "");
}

struct Receiver : OutputReceiver {
  void OnOutput(const v1::TokenOutput& output, absl::Time) override { seen.push_back(output.index()); }
  void OnBroken(const absl::Status&) override { ++broken; }
  void OnExpired() override { ++expired; }
  std::vector<uint32_t> seen;
  int broken = 0, expired = 0;
};

TEST(Inbox, DeliversByHandle) {
  Inbox inbox(3);
  Receiver first, second;
  int sessions[2];
  const uint64_t a = inbox.NewHandle(), b = inbox.NewHandle();
  EXPECT_EQ(Inbox::LoopOf(a), 3u);
  const absl::Time start = absl::UnixEpoch();
  inbox.Add(a, &sessions[0], start + absl::Seconds(1), &first);
  inbox.Add(b, &sessions[1], start + absl::Seconds(2), &second);
  v1::SessionResponse message;
  for (uint64_t handle : {a, b, a, a + 1, b + 256}) {
    v1::TokenOutput* output = message.add_outputs();
    output->set_handle(handle);
    output->set_index(message.outputs_size());
  }
  inbox.Deliver(message, start);
  EXPECT_THAT(first.seen, testing::ElementsAre(1, 3));
  EXPECT_THAT(second.seen, testing::ElementsAre(2));
  inbox.Expire(start + absl::Seconds(1));
  EXPECT_EQ(first.expired, 1);
  EXPECT_EQ(second.expired, 0);
  inbox.Remove(a);
  inbox.Break(&sessions[0], absl::UnavailableError(""));
  inbox.Break(&sessions[1], absl::UnavailableError(""));
  EXPECT_EQ(first.broken, 0);
  EXPECT_EQ(second.broken, 1);
}

TEST(WaitList, RetriesUntilDoneOrExpired) {
  WaitList list;
  int attempts = 0, expired = 0;
  bool ready = false;
  const auto attempt = [&](bool is_expired) {
    ++attempts;
    expired += is_expired;
    return ready;
  };
  const absl::Time start = absl::UnixEpoch();
  list.Add(start + absl::Seconds(1), attempt);
  list.Retry();
  list.Expire(start);
  EXPECT_EQ(attempts, 1);
  list.Expire(start + absl::Seconds(1));
  EXPECT_EQ(expired, 1);
  ready = true;
  list.Add(start + absl::Seconds(1), attempt);
  list.Retry();
  list.Retry();
  EXPECT_EQ(attempts, 3);
}

TEST(RequestId, TakesSafeOnesOnly) {
  EXPECT_EQ(RequestIdOf("a-B_9.x"), "a-B_9.x");
  for (const std::string& unsafe : {std::string(), std::string(129, 'a'), std::string("a b"), std::string("a\n"),
                                    std::string("a\"b"), std::string("é")}) {
    const std::string made = RequestIdOf(unsafe);
    EXPECT_TRUE(IsSafeRequestId(made)) << made;
    EXPECT_NE(made, unsafe);
  }
  EXPECT_NE(RequestIdOf(""), RequestIdOf(""));
}

}  // namespace
}  // namespace slmmesh
