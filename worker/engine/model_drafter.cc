#include "worker/engine/model_drafter.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "common/status.h"

namespace slmmesh {

absl::Status ModelDrafter::Draft(absl::Span<const Chunk> chunks, uint32_t max_tokens) {
  std::vector<Member> members = Begin(chunks, max_tokens);
  while (!batch_.tokens.empty()) {
    const absl::Time start = clock_->Now();
    absl::Span<const float> logits;
    RETURN_IF_ERROR(runner_->Run(batch_, &logits));
    const size_t row_size = runner_->vocab_size();
    if (logits.size() != members.size() * row_size) {
      return absl::InternalError(
          absl::StrCat("the draft model gave ", logits.size(), " logits for ", members.size(), " rows of ", row_size));
    }
    std::vector<Member> going_on;
    for (size_t i = 0; i < members.size(); ++i) {
      if (Guess(&members[i], TargetRow(logits.subspan(i * row_size, row_size)))) going_on.push_back(members[i]);
    }
    policy_->NoteDraft(static_cast<uint32_t>(batch_.num_tokens()), absl::ToDoubleSeconds(clock_->Now() - start));
    members = options_.stops_early ? Worthwhile(std::move(going_on)) : std::move(going_on);
    Continue(members);
  }
  for (const Chunk& chunk : chunks) chunk.sequence->sampling.DropGuesses();
  return absl::OkStatus();
}

std::vector<ModelDrafter::Member> ModelDrafter::Begin(absl::Span<const Chunk> chunks, uint32_t max_tokens) {
  batch_ = {};
  written_.clear();
  std::vector<Member> members;
  for (const Chunk& chunk : chunks) {
    Sequence* sequence = chunk.sequence;
    const uint32_t num_tokens = sequence->num_tokens();
    if (chunk.max_guesses == 0 || num_tokens > options_.max_len) continue;
    if (options_.cache == DraftCache::kTargets) {
      Append(*sequence, num_tokens - 1, num_tokens);
    } else {
      const size_t before = batch_.tokens.size();
      if (!CatchUp(sequence, max_tokens + 1)) continue;
      max_tokens -= std::min(max_tokens, static_cast<uint32_t>(batch_.tokens.size() - before) - 1);
      if (sequence->speculation.num_drafted < num_tokens) continue;
    }
    batch_.logit_rows.push_back(static_cast<uint32_t>(batch_.tokens.size()) - 1);
    members.push_back({sequence, std::min(chunk.max_guesses, options_.max_len - num_tokens + 1)});
  }
  return members;
}

bool ModelDrafter::CatchUp(Sequence* sequence, uint32_t max_tokens) {
  blocks_->FindDrafted(sequence);
  SpeculationState& speculation = sequence->speculation;
  const uint32_t begin = speculation.num_drafted;
  const uint32_t end = begin + std::min(sequence->num_tokens() - begin, max_tokens);
  const uint32_t first = begin / blocks_->block_size(), last = (end - 1) / blocks_->block_size();
  const auto is_written = [this](BlockId block) { return written_.contains(block); };
  if (std::any_of(sequence->blocks.begin() + first, sequence->blocks.begin() + last + 1, is_written)) return false;
  written_.insert(sequence->blocks.begin() + first, sequence->blocks.begin() + last + 1);
  Append(*sequence, begin, end);
  blocks_->NoteDrafted(sequence, end);
  speculation.num_written = end;
  return true;
}

void ModelDrafter::Continue(absl::Span<const Member> members) {
  batch_ = {};
  for (const Member& member : members) {
    SpeculationState& speculation = member.sequence->speculation;
    const uint32_t end = member.sequence->num_tokens() + static_cast<uint32_t>(speculation.guesses.size());
    Append(*member.sequence, end - 1, end);
    batch_.logit_rows.push_back(static_cast<uint32_t>(batch_.tokens.size()) - 1);
    speculation.num_written = end;
  }
}

void ModelDrafter::Append(const Sequence& sequence, uint32_t begin, uint32_t end) {
  if (batch_.tokens.empty()) {
    batch_.query_start = {0};
    batch_.block_start = {0};
  }
  for (uint32_t position = begin; position < end; ++position) {
    const bool is_guess = position >= sequence.num_tokens();
    batch_.tokens.push_back(is_guess ? sequence.speculation.guesses[position - sequence.num_tokens()]
                                     : sequence.tokens[position]);
    batch_.positions.push_back(position);
  }
  batch_.query_start.push_back(static_cast<uint32_t>(batch_.tokens.size()));
  const uint32_t num_blocks = (end + blocks_->block_size() - 1) / blocks_->block_size();
  batch_.block_table.insert(batch_.block_table.end(), sequence.blocks.begin(), sequence.blocks.begin() + num_blocks);
  batch_.block_start.push_back(static_cast<uint32_t>(batch_.block_table.size()));
}

bool ModelDrafter::Guess(Member* member, absl::Span<const float> logits) {
  Sequence& sequence = *member->sequence;
  SpeculationState& speculation = sequence.speculation;
  TokenDistribution proposal;
  const bool is_drawn = options_.rule == AcceptanceRule::kRejection;
  const std::optional<LeadingToken> guess =
      is_drawn ? sampler_.Propose(logits, sequence.sampling, &proposal) : sampler_.Guess(logits, sequence.sampling);
  if (!guess.has_value()) return false;
  if (is_drawn) speculation.proposals.push_back(std::move(proposal));
  speculation.guesses.push_back(guess->id);
  speculation.leads.push_back(guess->lead);
  sequence.sampling.AddGuess(guess->id);
  member->all_right *= policy_->ChanceOf(guess->lead, speculation.acceptance);
  return speculation.guesses.size() < member->max_guesses && !sequence.sampling.EndsRequest(guess->id);
}

std::vector<ModelDrafter::Member> ModelDrafter::Worthwhile(std::vector<Member> members) const {
  double worth = 0;
  std::erase_if(members, [&](const Member& member) {
    const double of_member = policy_->WorthOfGuess(member.sequence->speculation.acceptance, member.all_right);
    if (of_member > 0) worth += of_member;
    return of_member <= 0;
  });
  if (worth <= policy_->DraftSeconds(members.size())) members.clear();
  return members;
}

// Models of one tokenizer pad its vocabulary differently.
absl::Span<const float> ModelDrafter::TargetRow(absl::Span<const float> row) {
  if (row.size() >= options_.vocab_size) return row.subspan(0, options_.vocab_size);
  row_.assign(options_.vocab_size, -std::numeric_limits<float>::infinity());
  std::copy(row.begin(), row.end(), row_.begin());
  return row_;
}

}  // namespace slmmesh
