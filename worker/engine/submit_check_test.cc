#include "worker/engine/submit_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "worker/engine/testing_submit.h"

namespace slmmesh {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr uint32_t kVocabSize = 100;
const EngineOptions kOptions{.num_blocks = 4, .block_size = 16, .max_model_len = 128};

struct BadCase {
  const char* field;
  const char* value;
  std::function<void(v1::Submit*)> spoil;
};

TEST(SubmitCheckTest, AcceptsTheEdges) {
  v1::Submit submit = GreedySubmit({0, 99}, 10);
  v1::SamplingParams* sampling = submit.mutable_sampling();
  sampling->set_temperature(2);
  sampling->set_min_p(1);
  sampling->set_presence_penalty(-2);
  sampling->set_frequency_penalty(2);
  sampling->set_top_logprobs(20);
  sampling->set_min_tokens(10);
  sampling->set_top_k(UINT32_MAX);
  for (int i = 0; i < 64; ++i) sampling->add_stop_token_ids(99);
  (*sampling->mutable_logit_bias())[99] = -100;
  submit.set_generated_tokens(1);
  EXPECT_TRUE(CheckSubmit(submit, kOptions, kVocabSize).ok()) << CheckSubmit(submit, kOptions, kVocabSize);
  // 4 blocks of 16, and the last token's KV is never needed.
  EXPECT_TRUE(CheckSubmit(GreedySubmit(CountingTokens(0, 60), 5), kOptions, kVocabSize).ok());
}

TEST(SubmitCheckTest, NamesFieldAndValueOfWhatCannotRun) {
  const std::vector<BadCase> cases = {
      {"sampling.temperature", "nan", [](auto* s) { s->mutable_sampling()->set_temperature(NAN); }},
      {"sampling.temperature", "-1", [](auto* s) { s->mutable_sampling()->set_temperature(-1); }},
      {"sampling.temperature", "inf", [](auto* s) { s->mutable_sampling()->set_temperature(INFINITY); }},
      {"sampling.top_p", "0", [](auto* s) { s->mutable_sampling()->set_top_p(0); }},
      {"sampling.top_p", "1.5", [](auto* s) { s->mutable_sampling()->set_top_p(1.5f); }},
      {"sampling.top_p", "nan", [](auto* s) { s->mutable_sampling()->set_top_p(NAN); }},
      {"sampling.min_p", "-0.5", [](auto* s) { s->mutable_sampling()->set_min_p(-0.5f); }},
      {"sampling.min_p", "nan", [](auto* s) { s->mutable_sampling()->set_min_p(NAN); }},
      {"sampling.repetition_penalty", "0", [](auto* s) { s->mutable_sampling()->set_repetition_penalty(0); }},
      {"sampling.repetition_penalty", "nan", [](auto* s) { s->mutable_sampling()->set_repetition_penalty(NAN); }},
      {"sampling.presence_penalty", "3", [](auto* s) { s->mutable_sampling()->set_presence_penalty(3); }},
      {"sampling.frequency_penalty", "nan", [](auto* s) { s->mutable_sampling()->set_frequency_penalty(NAN); }},
      {"sampling.top_logprobs", "21", [](auto* s) { s->mutable_sampling()->set_top_logprobs(21); }},
      {"sampling.max_tokens", "0", [](auto* s) { s->mutable_sampling()->set_max_tokens(0); }},
      {"sampling.min_tokens", "11", [](auto* s) { s->mutable_sampling()->set_min_tokens(11); }},
      {"sampling.stop_token_ids", "100", [](auto* s) { s->mutable_sampling()->add_stop_token_ids(100); }},
      {"sampling.stop_token_ids", "65",
       [](auto* s) { s->mutable_sampling()->mutable_stop_token_ids()->Resize(65, 1); }},
      {"sampling.logit_bias", "100", [](auto* s) { (*s->mutable_sampling()->mutable_logit_bias())[100] = 1; }},
      {"sampling.logit_bias", "101", [](auto* s) { (*s->mutable_sampling()->mutable_logit_bias())[1] = 101; }},
      {"sampling.logit_bias", "nan", [](auto* s) { (*s->mutable_sampling()->mutable_logit_bias())[1] = NAN; }},
      {"sampling.logit_bias", "1025",
       [](auto* s) {
         for (uint32_t i = 0; i < 1025; ++i) (*s->mutable_sampling()->mutable_logit_bias())[i] = 1;
       }},
      {"prompt_tokens", "0", [](auto* s) { s->clear_prompt_tokens(); }},
      {"prompt_tokens", "100", [](auto* s) { s->add_prompt_tokens(100); }},
      {"prompt_tokens", "128", [](auto* s) { s->mutable_prompt_tokens()->Resize(128, 1); }},
      {"generated_tokens", "3", [](auto* s) { s->set_generated_tokens(3); }},
      {"generated_tokens", "11",
       [](auto* s) {
         s->mutable_prompt_tokens()->Resize(20, 1);
         s->set_generated_tokens(11);
       }},
      {"sampling.max_tokens", "66",
       [](auto* s) {
         s->mutable_prompt_tokens()->Resize(60, 1);
         s->mutable_sampling()->set_max_tokens(6);
       }},
      {"tenant", "257", [](auto* s) { s->set_tenant(std::string(257, 'x')); }},
      {"cache_salt", "257", [](auto* s) { s->set_cache_salt(std::string(257, 'x')); }},
  };
  for (const BadCase& bad : cases) {
    v1::Submit submit = GreedySubmit({1, 2, 3}, 10);
    bad.spoil(&submit);
    const absl::Status status = CheckSubmit(submit, kOptions, kVocabSize);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << bad.field << " " << bad.value;
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr(bad.field), HasSubstr(" is " + std::string(bad.value)), HasSubstr(": ")));
  }
}

}  // namespace
}  // namespace slmmesh
