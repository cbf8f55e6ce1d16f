#include "operator/autoscale.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace slmmesh {
namespace {

using testing::HasSubstr;

const absl::Time kNow = absl::FromUnixSeconds(1'800'000'000);

v1::LoadReport Load(uint32_t running, uint32_t waiting, uint32_t waiting_prompt_tokens, uint32_t kv_used) {
  v1::LoadReport load;
  load.set_running(running);
  load.set_waiting(waiting);
  load.set_waiting_prompt_tokens(waiting_prompt_tokens);
  load.set_prefill_tokens_per_second(1000);
  load.set_kv_blocks_total(100);
  load.set_kv_blocks_used(kv_used);
  load.set_max_running(64);
  return load;
}

ScaleInput Input(uint32_t groups, const v1::LoadReport& load_of_each) {
  ScaleInput input;
  input.groups = groups;
  input.min_groups = 1;
  input.max_groups = 8;
  input.is_known = true;
  input.loads.assign(groups, load_of_each);
  return input;
}

ScaleInput Since(ScaleInput input, absl::Duration above, absl::Duration below, absl::Duration idle) {
  input.memory.set_above_since(TimeText(kNow - above));
  input.memory.set_below_since(TimeText(kNow - below));
  input.memory.set_idle_since(TimeText(kNow - idle));
  return input;
}

ScaleInput Long(const ScaleInput& input) { return Since(input, absl::Hours(1), absl::Hours(1), absl::Hours(1)); }

struct Case {
  const char* name;
  ScaleInput input;
  uint32_t groups;
  const char* reason;
};

ScaleInput MinZero(ScaleInput input) {
  input.min_groups = 0;
  input.is_idle = true;
  input.targets.set_scale_to_zero_after_seconds(60);
  return input;
}

ScaleInput AskedFor(ScaleInput input, bool is_asked) {
  input.is_asked_for = is_asked;
  return input;
}

ScaleInput Unknown(ScaleInput input) {
  input.is_known = false;
  return input;
}

ScaleInput Limits(ScaleInput input, uint32_t least, uint32_t most) {
  input.min_groups = least;
  input.max_groups = most;
  return input;
}

TEST(AutoscaleTest, DecidesByTheLoadThatHasLasted) {
  const v1::LoadReport idle = Load(0, 0, 0, 0), calm = Load(30, 0, 0, 50), queue = Load(30, 2, 300, 50);
  const v1::LoadReport long_queue = Load(64, 90, 90'000, 99), full_cache = Load(20, 0, 0, 92),
                       seats = Load(64, 0, 0, 10);
  const Case cases[] = {
      {"calm", Long(Input(2, calm)), 2, ""},
      {"queue above its target", Long(Input(2, queue)), 3, "a new request would wait 0.3 s, the target is 0.2 s"},
      {"a queue that says only: far too long", Long(Input(2, long_queue)), 4, "from 2 to 4 groups"},
      {"not above maxReplicas", Limits(Long(Input(2, long_queue)), 1, 3), 3, "from 2 to 3 groups"},
      {"KV cache", Long(Input(2, full_cache)), 3, "92 % of the KV blocks are in use, the target is 80 %"},
      {"seats", Long(Input(2, seats)), 3, "128 requests run and 0 wait, 100 % of what can run at once"},
      {"above, but not for long", Since(Input(2, queue), absl::Seconds(4), {}, {}), 2, ""},
      {"one of four could carry it: half at a time", Long(Input(4, Load(2, 0, 0, 2))), 2,
       "2 groups can carry the load"},
      {"low, but not for long", Since(Input(4, Load(2, 0, 0, 2)), {}, absl::Seconds(299), {}), 4, ""},
      {"never below one by load alone", Long(Input(1, idle)), 1, ""},
      {"idle, but minReplicas holds", Long(Input(2, idle)), 1, "1 groups can carry the load"},
      {"idle", MinZero(Long(Input(1, idle))), 0, "idle for 60 s"},
      {"idle, but not for long", Since(MinZero(Input(1, idle)), {}, {}, absl::Seconds(59)), 1, ""},
      {"asked for", AskedFor(MinZero(Input(0, idle)), true), 1, "requests wait and no group is there"},
      {"not asked for", AskedFor(MinZero(Input(0, idle)), false), 0, ""},
      {"no word of the head", Unknown(Long(Input(2, long_queue))), 2, ""},
      {"limits moved up", Limits(Input(2, calm), 3, 8), 3, "minReplicas and maxReplicas"},
      {"limits moved down", Limits(Input(4, calm), 1, 2), 2, "minReplicas and maxReplicas"},
  };
  for (const Case& test : cases) {
    const ScaleDecision decision = DecideScale(test.input, kNow);
    EXPECT_EQ(decision.groups, test.groups) << test.name;
    EXPECT_THAT(decision.reason, HasSubstr(test.reason)) << test.name;
    EXPECT_EQ(decision.reason.empty(), std::string(test.reason).empty()) << test.name << ": " << decision.reason;
  }
}

TEST(AutoscaleTest, RemembersSinceWhenAndSaysWhenToLookAgain) {
  const ScaleDecision first = DecideScale(Input(2, Load(30, 2, 300, 50)), kNow);
  EXPECT_EQ(first.above_since, TimeText(kNow));
  EXPECT_EQ(first.below_since, "");
  EXPECT_EQ(first.look_again_in, absl::Seconds(5));
  const ScaleDecision low = DecideScale(Input(4, Load(1, 0, 0, 1)), kNow);
  EXPECT_EQ(low.below_since, TimeText(kNow));
  EXPECT_EQ(low.look_again_in, absl::Seconds(300));
  // No longer above: forgotten. And a time of the future (the clock was set back) counts from now.
  ScaleInput calm = Input(2, Load(30, 0, 0, 50));
  calm.memory.set_above_since(TimeText(kNow - absl::Hours(1)));
  EXPECT_EQ(DecideScale(calm, kNow).above_since, "");
  ScaleInput future = Input(2, Load(30, 2, 300, 50));
  future.memory.set_above_since(TimeText(kNow + absl::Hours(1)));
  EXPECT_EQ(DecideScale(future, kNow).look_again_in, absl::Seconds(5));
}

TEST(AutoscaleTest, SumsTheLoads) {
  const LoadSum sum = SumOf({Load(10, 1, 500, 20), Load(20, 3, 1500, 60)});
  EXPECT_EQ(sum.running, 30u);
  EXPECT_EQ(sum.waiting, 4u);
  EXPECT_DOUBLE_EQ(sum.kv_utilization, 0.4);
  EXPECT_DOUBLE_EQ(sum.queue_seconds, 1.0);
  EXPECT_DOUBLE_EQ(sum.seats_used, 34.0 / 128);
  EXPECT_EQ(SumOf({}).queue_seconds, 0);
}

}  // namespace
}  // namespace slmmesh
