// A deterministic simulation of an engine's life: random arrivals, tenants, cancels, timeouts and resumed requests on
// pools so small that blocks run out and prefixes are evicted, with guesses of every kind. Whatever happens around it,
// every request must get the tokens and log-probabilities that it gets alone. A failure prints its seed.
#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>
#include <map>
#include <optional>
#include <random>
#include <set>

#include "worker/engine/engine.h"
#include "worker/engine/fake_runner.h"
#include "worker/engine/logprobs.h"
#include "worker/engine/sampler.h"

namespace slmmesh {
namespace {

constexpr uint32_t kVocabSize = 23;
constexpr uint32_t kEos = 1;
constexpr uint32_t kSeeds = 400;
constexpr uint32_t kRequests = 40;

struct Answer {
  std::vector<uint32_t> tokens;  // from the submit's own start
  std::vector<float> logprobs;
  v1::FinishReason reason = v1::FINISH_REASON_UNSPECIFIED;
};

// What the request gets with no engine at all: one history, no blocks, no company.
Answer AnswerAlone(const v1::Submit& submit, uint32_t max_model_len) {
  std::vector<uint32_t> history(submit.prompt_tokens().begin(), submit.prompt_tokens().end());
  const std::vector<uint32_t> eos = {kEos};
  SamplingState state(submit.sampling(), eos);
  const size_t num_prompt = history.size() - submit.generated_tokens();
  for (size_t i = 0; i < history.size(); ++i) {
    i < num_prompt ? state.AddPromptToken(history[i]) : state.AddOutputToken(history[i]);
  }
  Sampler sampler;
  Answer answer;
  while (answer.reason == v1::FINISH_REASON_UNSPECIFIED) {
    const std::vector<float> logits = HashedLogits(history, kVocabSize);
    const uint32_t token = sampler.Sample(logits, state).value();
    answer.tokens.push_back(token);
    answer.logprobs.push_back(RowLogprobs(logits).Of(token));
    history.push_back(token);
    state.AddOutputToken(token);
    if (state.EndsRequest(token)) {
      answer.reason = v1::FINISH_REASON_STOP;
    } else if (history.size() - num_prompt == submit.sampling().max_tokens() || history.size() == max_model_len) {
      answer.reason = v1::FINISH_REASON_LENGTH;
    }
  }
  return answer;
}

// What the seeds together must have met, so that a passing run means something.
struct Coverage {
  uint64_t steps = 0, preemptions = 0, hits = 0, evictions = 0, timeouts = 0, cancels = 0, refused = 0, finished = 0,
           resumed = 0;
  std::map<SpeculationMethod, SpeculationStats> speculation;
  uint64_t perfect_drafts = 0;
};

struct Request {
  v1::Submit submit;
  Answer expected;
  std::vector<uint32_t> tokens;
  bool done = false;
};

class Simulation {
 public:
  Simulation(uint32_t seed, Coverage* coverage) : random_(seed), coverage_(coverage) {
    options_.block_size = Pick({1, 2, 4, 8});
    options_.max_model_len = Between(12, 48);
    const uint32_t blocks_of_longest = (options_.max_model_len + options_.block_size - 1) / options_.block_size;
    options_.num_blocks = blocks_of_longest + Between(0, 2 * blocks_of_longest);
    options_.max_num_seqs = Between(1, 8);
    options_.max_num_batched_tokens = options_.max_num_seqs + Between(0, 24);
    options_.max_waiting = Between(2, 20);
    options_.enable_prefix_caching = Chance(85);
    options_.eos_token_ids = {kEos};
    runner_.emplace(kVocabSize, options_.num_blocks, options_.block_size);
    runner_->on_run = [this](const StepBatch& batch) { Take(batch, target_us_); };
    RandomSpeculation();
    engine_ = Engine::Create(options_, &*runner_, &clock_, draft_.get()).value();
    for (int i = 0; i < 3; ++i) prefixes_.push_back(Tokens(Between(4, options_.max_model_len / 2)));
  }

  void Run() {
    while (submitted_ < kRequests && !::testing::Test::HasFatalFailure()) {
      if (Chance(40)) SubmitOne();
      if (Chance(6)) CancelOne();
      StepOnce();
    }
    Drain();
    CheckEnd();
  }

 private:
  uint32_t Between(uint32_t low, uint32_t high) { return low + static_cast<uint32_t>(random_() % (high - low + 1)); }
  bool Chance(uint32_t percent) { return Between(1, 100) <= percent; }
  uint32_t Pick(std::vector<uint32_t> values) { return values[Between(0, static_cast<uint32_t>(values.size()) - 1)]; }
  std::vector<uint32_t> Tokens(uint32_t count) {
    std::vector<uint32_t> tokens(count);
    for (uint32_t& token : tokens) token = Between(2, 5);  // few, so that prompts share prefixes by chance, too
    return tokens;
  }

  void RandomSpeculation() {
    SpeculationOptions& speculation = options_.speculation;
    speculation.method = static_cast<SpeculationMethod>(Between(0, 3));
    speculation.max_guesses = Between(1, 9);
    speculation.adapts = Chance(50);
    if (Chance(25)) speculation.rule = AcceptanceRule::kRejection;
    agreement_ = Pick({0, 50, 90, 100});
    const uint32_t vocab_size = agreement_ == 100 ? kVocabSize : Between(kVocabSize - 3, kVocabSize + 3);
    if (speculation.method == SpeculationMethod::kSelfQuantized) {
      draft_ = std::make_unique<FakeDraft>(vocab_size, *runner_, agreement_);
    } else if (speculation.method == SpeculationMethod::kDraft) {
      draft_ = std::make_unique<FakeDraft>(vocab_size, options_.num_blocks, options_.block_size, agreement_);
      if (Chance(30)) speculation.draft_max_len = Between(1, options_.max_model_len);
    }
    if (draft_ != nullptr) draft_->on_run = [this](const StepBatch& batch) { Take(batch, draft_us_); };
  }

  // Runs take time, so that what pays differs from seed to seed.
  void Take(const StepBatch& batch, uint32_t microseconds) {
    clock_.Advance(absl::Microseconds(microseconds + Between(0, 3) * batch.num_tokens()));
  }

  v1::SamplingParams RandomSampling() {
    v1::SamplingParams sampling;
    const bool is_greedy = options_.speculation.rule == AcceptanceRule::kRejection || Chance(50);
    sampling.set_temperature(is_greedy ? 0 : 1);
    sampling.set_top_p(Chance(30) ? 0.8f : 1);
    sampling.set_top_k(Chance(30) ? 5 : 0);
    sampling.set_repetition_penalty(Chance(20) ? 1.3f : 1);
    sampling.set_frequency_penalty(Chance(20) ? 0.5f : 0);
    sampling.set_seed(Between(0, 3));
    sampling.set_max_tokens(Between(1, options_.max_model_len));
    sampling.set_min_tokens(Chance(20) ? Between(0, sampling.max_tokens()) : 0);
    if (Chance(20)) sampling.add_stop_token_ids(Between(2, 9));
    if (Chance(20)) (*sampling.mutable_logit_bias())[Between(0, kVocabSize - 1)] = Chance(70) ? 2 : 100;
    sampling.set_presence_penalty(Chance(20) ? 0.5f : 0);
    sampling.set_min_p(Chance(20) ? 0.1f : 0);
    sampling.set_ignore_eos(Chance(50));
    sampling.set_prompt_logprobs(Chance(10));
    if (Chance(10)) sampling.set_top_logprobs(Between(0, 3));
    return sampling;
  }

  v1::Submit RandomSubmit() {
    v1::Submit submit;
    const uint32_t tenant = Between(0, 2);
    submit.set_tenant("tenant" + std::to_string(tenant));
    submit.set_cache_salt("salt" + std::to_string(tenant));
    std::vector<uint32_t> prompt;
    if (Chance(70)) prompt = prefixes_[Between(0, 2)];
    const std::vector<uint32_t> suffix = Tokens(Between(1, options_.max_model_len / 3));
    prompt.insert(prompt.end(), suffix.begin(), suffix.end());
    prompt.resize(std::min<size_t>(prompt.size(), options_.max_model_len - 1));
    submit.mutable_prompt_tokens()->Add(prompt.begin(), prompt.end());
    *submit.mutable_sampling() = RandomSampling();
    if (Chance(15)) submit.set_timeout_ms(Between(1, 200));
    return submit;
  }

  // The same request as if its first tokens had come from elsewhere.
  void MakeResumed(Request* request) {
    if (request->expected.tokens.size() < 2) return;
    const uint32_t done = Between(1, static_cast<uint32_t>(request->expected.tokens.size()) - 1);
    auto& tokens = request->expected.tokens;
    request->submit.mutable_prompt_tokens()->Add(tokens.begin(), tokens.begin() + done);
    request->submit.set_generated_tokens(done);
    tokens.erase(tokens.begin(), tokens.begin() + done);
    auto& logprobs = request->expected.logprobs;
    logprobs.erase(logprobs.begin(), logprobs.begin() + done);
    ++coverage_->resumed;
  }

  void SubmitOne() {
    Request request;
    request.submit = RandomSubmit();
    request.expected = AnswerAlone(request.submit, options_.max_model_len);
    if (Chance(20)) MakeResumed(&request);
    const uint64_t id = submitted_++;
    const absl::Status status = engine_->Submit({id, request.submit});
    if (!status.ok()) {
      ASSERT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
      ASSERT_GE(engine_->Load().waiting(), options_.max_waiting);
      ++coverage_->refused;
      return;
    }
    requests_.emplace(id, std::move(request));
  }

  void CancelOne() {
    if (requests_.empty()) return;
    auto request = requests_.begin();
    std::advance(request, Between(0, static_cast<uint32_t>(requests_.size()) - 1));
    if (!request->second.done) ++coverage_->cancels;
    request->second.done = true;
    engine_->Cancel(request->first);
  }

  void StepOnce() {
    clock_.Advance(absl::Milliseconds(Between(0, 5)));
    outputs_.clear();
    bool worked = false;
    const absl::Status status = engine_->Step(&outputs_, &worked);
    ASSERT_TRUE(status.ok()) << status;
    ++coverage_->steps;
    if (worked && engine_->last_step().prefill_tokens + engine_->last_step().decode_tokens > 0) {
      ASSERT_LE(runner_->last_batch.num_tokens(), options_.max_num_batched_tokens);
      ASSERT_LE(runner_->last_batch.num_sequences(), options_.max_num_seqs);
    }
    ASSERT_LE(engine_->Load().running(), options_.max_num_seqs);
    for (const EngineOutput& output : outputs_) ASSERT_NO_FATAL_FAILURE(Take(output));
    if (Chance(30)) CheckBlockEvents();
  }

  void Take(const EngineOutput& engine_output) {
    const v1::TokenOutput& output = engine_output.output;
    ASSERT_TRUE(requests_.contains(engine_output.id));
    Request& request = requests_.at(engine_output.id);
    ASSERT_FALSE(request.done) << "an output after the end of request " << engine_output.id;
    ASSERT_EQ(output.index(), request.tokens.size() + request.submit.generated_tokens());
    request.done = output.finish_reason() != v1::FINISH_REASON_UNSPECIFIED;
    if (output.finish_reason() == v1::FINISH_REASON_ERROR) {
      ASSERT_EQ(output.error_code(), 4u) << output.error_message();
      ASSERT_GT(request.submit.timeout_ms(), 0u);
      ++coverage_->timeouts;
      return;
    }
    if (request.tokens.empty()) CheckFirstOutput(request, output);
    request.tokens.push_back(output.token_id());
    ASSERT_LE(request.tokens.size(), request.expected.tokens.size());
    ASSERT_EQ(output.token_id(), request.expected.tokens[request.tokens.size() - 1])
        << "request " << engine_output.id << " differs from itself alone at token " << output.index();
    ASSERT_EQ(output.has_logprob(), request.submit.sampling().has_top_logprobs());
    if (output.has_logprob()) {
      ASSERT_EQ(output.logprob(), request.expected.logprobs[request.tokens.size() - 1]);
    }
    if (!request.done) return;
    ASSERT_EQ(request.tokens.size(), request.expected.tokens.size());
    ASSERT_EQ(output.finish_reason(), request.expected.reason);
    ++coverage_->finished;
  }

  // A cached prefix must have been somebody's under the same salt.
  void CheckFirstOutput(const Request& request, const v1::TokenOutput& output) {
    const auto& prompt = request.submit.prompt_tokens();
    const uint32_t num_prompt = static_cast<uint32_t>(prompt.size()) - request.submit.generated_tokens();
    if (request.submit.sampling().prompt_logprobs()) {
      ASSERT_EQ(output.prompt_logprobs_size(), static_cast<int>(num_prompt) - 1);
      if (num_prompt > 1) {
        ASSERT_EQ(output.cached_tokens(), 0u);
      }
    }
    const uint32_t cached = output.cached_tokens();
    if (cached == 0) return;
    ASSERT_TRUE(options_.enable_prefix_caching);
    ASSERT_LE(cached, num_prompt);
    coverage_->hits += cached;
    for (const auto& [id, other] : requests_) {
      if (&other == &request || other.submit.cache_salt() != request.submit.cache_salt()) continue;
      std::vector<uint32_t> said(other.submit.prompt_tokens().begin(), other.submit.prompt_tokens().end());
      said.insert(said.end(), other.tokens.begin(), other.tokens.end());
      if (said.size() >= cached && std::equal(said.begin(), said.begin() + cached, prompt.begin())) return;
    }
    FAIL() << "a prefix of " << cached << " tokens came from another salt";
  }

  void CheckBlockEvents() {
    const v1::BlockEvents events = engine_->TakeBlockEvents();
    for (BlockHash hash : events.stored()) ASSERT_TRUE(router_picture_.insert(hash).second);
    for (BlockHash hash : events.evicted()) ASSERT_EQ(router_picture_.erase(hash), 1u);
    coverage_->evictions += static_cast<uint64_t>(events.evicted_size());
    const std::vector<BlockHash> all = engine_->AllBlockHashes();
    ASSERT_EQ(router_picture_, std::set<BlockHash>(all.begin(), all.end()));
  }

  void Drain() {
    // Each step gives the oldest running request at least one token, and only what an older one displaced runs again.
    uint64_t bound = 0;
    for (const auto& [id, request] : requests_) {
      if (!request.done) bound += 2 * (request.submit.prompt_tokens_size() + request.expected.tokens.size());
    }
    for (uint64_t step = 0; engine_->HasWork(); ++step) {
      ASSERT_LE(step, bound) << "somebody starves";
      ASSERT_NO_FATAL_FAILURE(StepOnce());
    }
  }

  void CheckEnd() {
    for (const auto& [id, request] : requests_) ASSERT_TRUE(request.done) << "request " << id << " was lost";
    ASSERT_EQ(engine_->free_blocks(), options_.num_blocks) << "blocks leaked";
    ASSERT_EQ(engine_->Load().kv_blocks_used(), 0u);
    ASSERT_EQ(engine_->Load().waiting_prompt_tokens(), 0u);
    coverage_->preemptions += engine_->stats().preemptions;
    ASSERT_NO_FATAL_FAILURE(CheckSpeculation());
    ASSERT_NO_FATAL_FAILURE(CheckBlockEvents());
  }

  void CheckSpeculation() {
    const SpeculationStats& stats = engine_->stats().speculation;
    SpeculationStats& all = coverage_->speculation[options_.speculation.method];
    all.verifications += stats.verifications;
    all.guessed += stats.guessed;
    all.accepted += stats.accepted;
    all.emitted += stats.emitted;
    ASSERT_LE(stats.accepted, stats.guessed);
    ASSERT_LE(stats.emitted, stats.accepted + stats.verifications);
    // A draft that always agrees is always right, or else its cache holds what it should not.
    if (draft_ == nullptr || agreement_ != 100) return;
    ASSERT_EQ(stats.accepted, stats.guessed);
    coverage_->perfect_drafts += stats.guessed > 0 ? 1 : 0;
  }

  std::mt19937 random_;
  Coverage* const coverage_;
  EngineOptions options_;
  FakeClock clock_;
  std::optional<FakeRunner> runner_;
  std::unique_ptr<FakeDraft> draft_;
  uint32_t agreement_ = 0;
  uint32_t target_us_ = Between(0, 100), draft_us_ = Between(0, 100);
  std::unique_ptr<Engine> engine_;
  std::vector<std::vector<uint32_t>> prefixes_;
  std::map<uint64_t, Request> requests_;
  std::set<BlockHash> router_picture_;
  std::vector<EngineOutput> outputs_;
  uint64_t submitted_ = 0;
};

TEST(SimulationTest, EveryRequestGetsTheTokensItGetsAlone) {
  Coverage coverage;
  for (uint32_t seed = 1; seed <= kSeeds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Simulation(seed, &coverage).Run();
    if (HasFatalFailure()) return;
  }
  std::cout << kSeeds << " seeds: " << coverage.steps << " steps, " << coverage.finished << " finished, "
            << coverage.resumed << " resumed, " << coverage.preemptions << " preemptions, " << coverage.hits
            << " cached tokens, " << coverage.evictions << " evictions, " << coverage.timeouts << " timeouts, "
            << coverage.cancels << " cancels, " << coverage.refused << " refused\n";
  for (uint64_t count : {coverage.finished, coverage.resumed, coverage.preemptions, coverage.hits, coverage.evictions,
                         coverage.timeouts, coverage.cancels, coverage.refused}) {
    EXPECT_GE(count, 100u) << "the simulation no longer meets what it is for";
  }
  for (const auto method : {SpeculationMethod::kNgram, SpeculationMethod::kSelfQuantized, SpeculationMethod::kDraft}) {
    const SpeculationStats& stats = coverage.speculation[method];
    std::cout << "method " << static_cast<int>(method) << ": " << stats.verifications << " verifications of "
              << stats.guessed << " guesses, " << stats.accepted << " right, " << stats.emitted << " emitted\n";
    EXPECT_GE(stats.accepted, 100u);
    EXPECT_GE(stats.guessed - stats.accepted, 100u);
  }
  EXPECT_GE(coverage.perfect_drafts, 5u);
}

}  // namespace
}  // namespace slmmesh
