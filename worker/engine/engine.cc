#include "worker/engine/engine.h"

#include <algorithm>
#include <limits>
#include <map>
#include <utility>

#include "common/status.h"
#include "worker/engine/batch_builder.h"
#include "worker/engine/kv_blocks.h"
#include "worker/engine/logprobs.h"
#include "worker/engine/rate.h"
#include "worker/engine/sampler.h"
#include "worker/engine/scheduler.h"
#include "worker/engine/sequence.h"
#include "worker/engine/submit_check.h"

namespace slmmesh {
namespace {

absl::Status CheckOptions(const EngineOptions& options) {
  if (options.num_blocks == 0) return absl::InvalidArgumentError("num_blocks is 0: give the KV cache at least 1 block");
  if (options.block_size == 0) return absl::InvalidArgumentError("block_size is 0: use 16, 32, 64 or 128");
  if (options.max_model_len < 2) {
    return absl::InvalidArgumentError(absl::StrCat("max_model_len is ", options.max_model_len,
                                                   ": use at least 2, a prompt token and an output token"));
  }
  if (options.max_num_seqs == 0) return absl::InvalidArgumentError("max_num_seqs is 0: use at least 1");
  if (options.max_num_batched_tokens < options.max_num_seqs) {
    return absl::InvalidArgumentError(absl::StrCat("max_num_batched_tokens is ", options.max_num_batched_tokens,
                                                   ": use at least max_num_seqs, ", options.max_num_seqs,
                                                   ", so that every running request gets its token each step"));
  }
  return absl::OkStatus();
}

void AddTopLogprobs(const RowLogprobs& row, uint32_t count, google::protobuf::RepeatedPtrField<v1::TokenLogprob>* out) {
  for (const TokenAndLogprob& top : row.Top(count)) {
    v1::TokenLogprob* entry = out->Add();
    entry->set_token_id(top.token);
    entry->set_logprob(top.logprob);
  }
}

class EngineImpl : public Engine {
 public:
  EngineImpl(const EngineOptions& options, ModelRunner* runner, const Clock* clock)
      : options_(options),
        runner_(runner),
        clock_(clock),
        blocks_(options.num_blocks, options.block_size,
                options.enable_prefix_caching ? PrefixCaching::kOn : PrefixCaching::kOff),
        scheduler_({options.max_num_seqs, options.max_num_batched_tokens}, &blocks_) {}

  absl::Status StartSpeculation(ModelRunner* draft);
  absl::Status Submit(EngineRequest request) override;
  void Cancel(uint64_t id) override;
  absl::Status Step(std::vector<EngineOutput>* outputs, bool* worked) override;
  void AbortAll(const absl::Status& status, std::vector<EngineOutput>* outputs) override;

  bool HasWork() const override { return !sequences_.empty(); }
  v1::LoadReport Load() const override;
  const StepTimes& last_step() const override { return last_step_; }
  const EngineStats& stats() const override { return stats_; }
  v1::BlockEvents TakeBlockEvents() override;
  std::vector<BlockHash> AllBlockHashes() const override { return blocks_.cache().AllHashes(); }
  uint32_t free_blocks() const override { return blocks_.num_free(); }

 private:
  void ExpireTimeouts(std::vector<EngineOutput>* outputs);
  uint32_t PromptTokensBesideDecodes() const;
  void NoteFirstSchedule(absl::Span<const Chunk> chunks, absl::Time now);
  void NoteSpeed(const BuiltBatch& built, double seconds);
  absl::Status RunModel(const StepBatch& batch, absl::Span<const float>* logits);
  // Takes the logits of one chunk: its prompt logprobs, and its next tokens. How many it gave out.
  uint32_t Emit(const Chunk& chunk, const ChunkRows& rows, absl::Span<const float> logits,
                std::vector<EngineOutput>* outputs);
  void TakePromptLogprobs(Sequence* sequence, const ChunkRows& rows, absl::Span<const float> logits);
  // The next token, and each further one whose row follows a right guess. logits: [1 + guesses, vocab_size]
  uint32_t EmitNextTokens(Sequence* sequence, absl::Span<const float> logits, std::vector<EngineOutput>* outputs);
  // The token after the sequence's last one; `index`: of the guess at it, if there is one.
  std::optional<uint32_t> ChooseToken(const Sequence& sequence, uint32_t index, absl::Span<const float> row);
  // False when the token ends the request, which is gone then.
  bool EmitToken(Sequence* sequence, uint32_t token, absl::Span<const float> logits,
                 std::vector<EngineOutput>* outputs);
  void FillFirstOutput(Sequence* sequence, v1::TokenOutput* output);
  v1::FinishReason FinishReasonOf(const Sequence& sequence, uint32_t token) const;
  void Fail(Sequence* sequence, const absl::Status& status, std::vector<EngineOutput>* outputs);
  void Remove(Sequence* sequence);

  const EngineOptions options_;
  ModelRunner* const runner_;
  const Clock* const clock_;
  KvBlocks blocks_;
  Scheduler scheduler_;
  std::unique_ptr<Speculator> speculator_;  // null: no speculation
  Sampler sampler_;
  std::map<uint64_t, Sequence> sequences_;  // by id
  uint64_t next_arrival_ = 0;
  SmoothedRate prefill_rate_, decode_rate_;
  SmoothedRate chunk_rate_;  // of prompt tokens, in steps with enough of them to tell
  StepTimes last_step_;
  EngineStats stats_;
};

absl::Status EngineImpl::Submit(EngineRequest request) {
  RETURN_IF_ERROR(CheckSubmit(request.submit, options_, runner_->vocab_size()));
  if (sequences_.contains(request.id)) {
    return absl::InvalidArgumentError(absl::StrCat("request id ", request.id, " is in use: choose another"));
  }
  if (scheduler_.waiting().size() >= options_.max_waiting) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the queue holds max_waiting, ", options_.max_waiting, ", requests: try again later"));
  }
  const auto [position, inserted] =
      sequences_.try_emplace(request.id, request.id, next_arrival_++, request.submit, options_.eos_token_ids);
  Sequence& sequence = position->second;
  sequence.submitted = clock_->Now();
  if (request.submit.timeout_ms() > 0) {
    sequence.deadline = sequence.submitted + absl::Milliseconds(request.submit.timeout_ms());
  }
  scheduler_.Add(&sequence);
  return absl::OkStatus();
}

void EngineImpl::Remove(Sequence* sequence) {
  scheduler_.Remove(sequence);
  sequences_.erase(sequence->id);
}

void EngineImpl::Cancel(uint64_t id) {
  const auto found = sequences_.find(id);
  if (found == sequences_.end()) return;
  ++stats_.aborted_requests;
  Remove(&found->second);
}

void EngineImpl::Fail(Sequence* sequence, const absl::Status& status, std::vector<EngineOutput>* outputs) {
  EngineOutput failed{.id = sequence->id};
  failed.output.set_index(sequence->sampling.num_output());
  failed.output.set_finish_reason(v1::FINISH_REASON_ERROR);
  failed.output.set_error_code(static_cast<uint32_t>(status.code()));
  failed.output.set_error_message(std::string(status.message()));
  outputs->push_back(std::move(failed));
  ++stats_.aborted_requests;
  Remove(sequence);
}

void EngineImpl::AbortAll(const absl::Status& status, std::vector<EngineOutput>* outputs) {
  while (!sequences_.empty()) Fail(&sequences_.begin()->second, status, outputs);
  blocks_.ForgetAll();  // the KV of a broken epoch is not to be trusted
}

void EngineImpl::ExpireTimeouts(std::vector<EngineOutput>* outputs) {
  const absl::Time now = clock_->Now();
  std::vector<Sequence*> expired;
  for (auto& [id, sequence] : sequences_) {
    if (sequence.deadline <= now) expired.push_back(&sequence);
  }
  for (Sequence* sequence : expired) {
    const auto timeout_ms = absl::ToInt64Milliseconds(sequence->deadline - sequence->submitted);
    Fail(sequence, absl::DeadlineExceededError(absl::StrCat("the request was not done within ", timeout_ms, " ms")),
         outputs);
  }
}

void EngineImpl::NoteFirstSchedule(absl::Span<const Chunk> chunks, absl::Time now) {
  for (const Chunk& chunk : chunks) {
    Sequence& sequence = *chunk.sequence;
    if (sequence.was_scheduled) continue;
    sequence.was_scheduled = true;
    sequence.cached_tokens = std::min(sequence.num_computed, sequence.num_prompt);
    sequence.queue_us = static_cast<uint32_t>(std::clamp<int64_t>(absl::ToInt64Microseconds(now - sequence.submitted),
                                                                  0, std::numeric_limits<uint32_t>::max()));
    stats_.prompt_tokens += sequence.num_prompt;
    stats_.prefix_lookup_tokens += sequence.num_tokens();
    stats_.prefix_hit_tokens += sequence.num_computed;
  }
}

// In proportion to what was reached: a step that took twice the target halves the next one's prompt tokens.
uint32_t EngineImpl::PromptTokensBesideDecodes() const {
  const double tokens = chunk_rate_.per_second() * absl::ToDoubleSeconds(options_.target_step);
  if (tokens <= 0) return options_.max_num_batched_tokens;
  return static_cast<uint32_t>(
      std::clamp<double>(tokens, options_.block_size, std::max(options_.block_size, options_.max_num_batched_tokens)));
}

absl::Status EngineImpl::StartSpeculation(ModelRunner* draft) {
  if (options_.speculation.method == SpeculationMethod::kNone) return absl::OkStatus();
  ASSIGN_OR_RETURN(speculator_, Speculator::Create(options_.speculation, runner_->vocab_size(), options_.max_model_len,
                                                   draft, &blocks_, clock_));
  return absl::OkStatus();
}

absl::Status EngineImpl::RunModel(const StepBatch& batch, absl::Span<const float>* logits) {
  RETURN_IF_ERROR(runner_->Run(batch, logits));
  const uint32_t vocab_size = runner_->vocab_size();
  if (logits->size() == batch.logit_rows.size() * vocab_size) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("the model gave ", logits->size(), " logits for ", batch.logit_rows.size(),
                                          " rows of ", vocab_size));
}

absl::Status EngineImpl::Step(std::vector<EngineOutput>* outputs, bool* worked) {
  const size_t outputs_before = outputs->size();
  const absl::Time start = clock_->Now();
  ExpireTimeouts(outputs);
  if (speculator_ != nullptr) speculator_->Want(scheduler_.running());
  const std::vector<Chunk> chunks = scheduler_.Schedule(PromptTokensBesideDecodes());
  stats_.preemptions = scheduler_.num_preemptions();
  *worked = !chunks.empty() || outputs->size() > outputs_before;
  if (chunks.empty()) return absl::OkStatus();
  NoteFirstSchedule(chunks, start);

  const absl::Time draft_start = clock_->Now();
  if (speculator_ != nullptr) RETURN_IF_ERROR(speculator_->Draft(chunks, PromptTokensBesideDecodes()));
  BuiltBatch built = BuildBatch(chunks, options_.block_size);

  const absl::Time run_start = clock_->Now();
  absl::Span<const float> logits;
  RETURN_IF_ERROR(RunModel(built.batch, &logits));

  const absl::Time sample_start = clock_->Now();
  for (size_t i = 0; i < chunks.size(); ++i) {
    const uint32_t emitted = Emit(chunks[i], built.rows[i], logits, outputs);
    if (emitted > 1) built.decode_tokens += emitted - 1;
  }
  const absl::Time end = clock_->Now();

  last_step_ = {.schedule = absl::ToDoubleSeconds(draft_start - start),
                .draft = absl::ToDoubleSeconds(run_start - draft_start),
                .run = absl::ToDoubleSeconds(sample_start - run_start),
                .sample = absl::ToDoubleSeconds(end - sample_start),
                .prefill_tokens = built.prefill_tokens,
                .decode_tokens = built.decode_tokens};
  NoteSpeed(built, absl::ToDoubleSeconds(end - start));
  return absl::OkStatus();
}

void EngineImpl::NoteSpeed(const BuiltBatch& built, double seconds) {
  prefill_rate_.Add(built.prefill_tokens, seconds);
  if (built.prefill_tokens >= options_.block_size) chunk_rate_.Add(built.prefill_tokens, seconds);
  decode_rate_.Add(built.decode_tokens, seconds);
  if (speculator_ == nullptr) return;
  speculator_->NoteStep({.seconds = seconds,
                         .draft_seconds = last_step_.draft,
                         .run_seconds = last_step_.run + last_step_.sample,
                         .decode_tokens = static_cast<uint32_t>(built.batch.num_tokens()) - built.prefill_tokens,
                         .has_prompts = built.prefill_tokens > 0});
  stats_.speculation = speculator_->stats();
}

uint32_t EngineImpl::Emit(const Chunk& chunk, const ChunkRows& rows, absl::Span<const float> logits,
                          std::vector<EngineOutput>* outputs) {
  Sequence* sequence = chunk.sequence;
  TakePromptLogprobs(sequence, rows, logits);
  if (rows.ends_sequence) {
    sequence->num_computed += chunk.num_tokens - 1;
    return EmitNextTokens(sequence, logits.subspan((rows.first + rows.num_prompt_rows) * runner_->vocab_size()),
                          outputs);
  }
  sequence->num_computed += chunk.num_tokens;
  blocks_.Share(sequence);
  return 0;
}

void EngineImpl::TakePromptLogprobs(Sequence* sequence, const ChunkRows& rows, absl::Span<const float> logits) {
  const size_t vocab_size = runner_->vocab_size();
  const uint32_t num_top = sequence->sampling.params().top_logprobs();
  for (uint32_t i = 0; i < rows.num_prompt_rows; ++i) {
    const RowLogprobs row(logits.subspan((rows.first + i) * vocab_size, vocab_size));
    v1::PromptLogprob& entry = sequence->prompt_logprobs.emplace_back();
    entry.set_logprob(row.Of(sequence->tokens[sequence->prompt_logprobs.size()]));
    AddTopLogprobs(row, num_top, entry.mutable_top_logprobs());
  }
}

// Token by token as if each had been a step of its own: only what is verified is computed, shared and emitted.
uint32_t EngineImpl::EmitNextTokens(Sequence* sequence, absl::Span<const float> logits,
                                    std::vector<EngineOutput>* outputs) {
  SpeculationState& speculation = sequence->speculation;
  const auto num_guesses = static_cast<uint32_t>(speculation.guesses.size());
  const size_t vocab_size = runner_->vocab_size();
  Verification verification = {.guessed = num_guesses};
  Acceptance acceptance = speculation.acceptance;  // outlives the sequence, and so do these
  const std::vector<float> leads = std::exchange(speculation.leads, {});
  bool is_right = true, goes_on = true;
  while (is_right && goes_on) {
    ++sequence->num_computed;
    blocks_.Share(sequence);
    const uint32_t index = verification.emitted;
    const absl::Span<const float> row = logits.subspan(index * vocab_size, vocab_size);
    const std::optional<uint32_t> token = ChooseToken(*sequence, index, row);
    if (!token.has_value()) {
      Fail(sequence,
           absl::InternalError("no token can be chosen: all are masked, or the model's logits are not finite"),
           outputs);
      goes_on = false;
      break;
    }
    is_right = index < num_guesses && *token == speculation.guesses[index];
    ++verification.emitted;
    if (is_right) ++verification.accepted;
    goes_on = EmitToken(sequence, *token, row, outputs);
    if (is_right && goes_on) blocks_.KeepDrafted(sequence);
  }
  if (num_guesses > 0) speculator_->NoteVerified(verification, leads, &acceptance);
  if (!goes_on) return verification.emitted;
  speculation.acceptance = acceptance;
  speculation.guesses.clear();
  speculation.proposals.clear();
  blocks_.Trim(sequence);
  return verification.emitted;
}

std::optional<uint32_t> EngineImpl::ChooseToken(const Sequence& sequence, uint32_t index, absl::Span<const float> row) {
  const SpeculationState& speculation = sequence.speculation;
  if (index >= speculation.guesses.size() || options_.speculation.rule == AcceptanceRule::kCoupled) {
    return sampler_.Sample(row, sequence.sampling);
  }
  const uint32_t guess = speculation.guesses[index];
  const TokenDistribution certain = {{guess}, {1}};
  return sampler_.SampleGuessed(row, sequence.sampling, guess,
                                speculation.proposals.empty() ? certain : speculation.proposals[index]);
}

bool EngineImpl::EmitToken(Sequence* sequence, uint32_t token, absl::Span<const float> logits,
                           std::vector<EngineOutput>* outputs) {
  EngineOutput emitted{.id = sequence->id};
  v1::TokenOutput& output = emitted.output;
  output.set_token_id(token);
  output.set_index(sequence->sampling.num_output());
  if (sequence->sampling.params().has_top_logprobs()) {
    const RowLogprobs row(logits);
    output.set_logprob(row.Of(token));
    AddTopLogprobs(row, sequence->sampling.params().top_logprobs(), output.mutable_top_logprobs());
  }
  if (!sequence->first_output_sent) FillFirstOutput(sequence, &output);

  sequence->tokens.push_back(token);
  sequence->sampling.AddOutputToken(token);
  ++stats_.generated_tokens;
  output.set_finish_reason(FinishReasonOf(*sequence, token));
  output.set_is_stop_token(output.finish_reason() == v1::FINISH_REASON_STOP);
  const bool goes_on = output.finish_reason() == v1::FINISH_REASON_UNSPECIFIED;
  if (!goes_on) {
    ++stats_.finished_requests;
    Remove(sequence);
  }
  outputs->push_back(std::move(emitted));
  return goes_on;
}

void EngineImpl::FillFirstOutput(Sequence* sequence, v1::TokenOutput* output) {
  sequence->first_output_sent = true;
  output->set_cached_tokens(sequence->cached_tokens);
  output->set_queue_us(sequence->queue_us);
  for (const v1::PromptLogprob& entry : sequence->prompt_logprobs) *output->add_prompt_logprobs() = entry;
}

v1::FinishReason EngineImpl::FinishReasonOf(const Sequence& sequence, uint32_t token) const {
  if (sequence.sampling.EndsRequest(token)) return v1::FINISH_REASON_STOP;
  const bool is_full = sequence.sampling.num_output() >= sequence.sampling.params().max_tokens() ||
                       sequence.num_tokens() >= options_.max_model_len;
  return is_full ? v1::FINISH_REASON_LENGTH : v1::FINISH_REASON_UNSPECIFIED;
}

v1::LoadReport EngineImpl::Load() const {
  v1::LoadReport load;
  load.set_running(static_cast<uint32_t>(scheduler_.running().size()));
  load.set_waiting(scheduler_.waiting().size());
  load.set_kv_blocks_total(options_.num_blocks);
  load.set_kv_blocks_used(options_.num_blocks - blocks_.num_free());
  load.set_waiting_prompt_tokens(static_cast<uint32_t>(
      std::min<uint64_t>(scheduler_.waiting().num_prompt_tokens(), std::numeric_limits<uint32_t>::max())));
  load.set_prefill_tokens_per_second(static_cast<float>(prefill_rate_.per_second()));
  load.set_decode_tokens_per_second(static_cast<float>(decode_rate_.per_second()));
  load.set_max_running(options_.max_num_seqs);
  return load;
}

v1::BlockEvents EngineImpl::TakeBlockEvents() {
  const PrefixChanges changes = blocks_.cache().TakeChanges();
  v1::BlockEvents events;
  events.mutable_stored()->Add(changes.stored.begin(), changes.stored.end());
  events.mutable_evicted()->Add(changes.evicted.begin(), changes.evicted.end());
  return events;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(const EngineOptions& options, ModelRunner* runner,
                                                       const Clock* clock, ModelRunner* draft) {
  RETURN_IF_ERROR(CheckOptions(options));
  const uint32_t vocab_size = runner->vocab_size();
  if (vocab_size == 0) return absl::InvalidArgumentError("the model's vocab_size is 0: it has no token to give");
  for (uint32_t token : options.eos_token_ids) {
    if (token >= vocab_size) {
      return absl::InvalidArgumentError(
          absl::StrCat("eos_token_ids has ", token, ": use token ids below the vocabulary size, ", vocab_size));
    }
  }
  auto engine = std::make_unique<EngineImpl>(options, runner, clock);
  RETURN_IF_ERROR(engine->StartSpeculation(draft));
  return engine;
}

}  // namespace slmmesh
