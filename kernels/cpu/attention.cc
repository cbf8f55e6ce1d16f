#include "kernels/cpu/attention.h"

#include <algorithm>
#include <cstdlib>

#include "kernels/cpu/kv_layout.h"

namespace slmmesh::kernels {
namespace {

constexpr int64_t kTasksPerThread = 4;  // enough for an even end
constexpr int64_t kLeastRows = 6;       // per task: a tile of the widest kernels

int64_t DivideUp(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t LinesPerRow(const AttentionArgs& args) { return PartialFloats(KvLayout(args.cache).value_stride()) / 16; }

}  // namespace

void AttentionRunner::Run(const AttentionArgs& args) {
  if (args.cache.num_kv_heads == 0 || args.num_q_heads == 0) return;
  if (args.num_q_heads % args.cache.num_kv_heads != 0) std::abort();
  pool_.For(Plan(args), [&](int64_t index, int /*worker*/) { RunTask(args, index); });
  if (!any_split_) return;
  const int64_t heads = args.cache.num_kv_heads;
  pool_.For(args.sequences.num_sequences * heads, [&](int64_t index, int /*worker*/) {
    Join(args, sequences_[static_cast<size_t>(index / heads)], index % heads);
  });
}

// Spans come before fewer rows: then each key is read once.
int64_t AttentionRunner::Plan(const AttentionArgs& args) {
  const int64_t enough = pool_.threads() > 1 ? pool_.threads() * kTasksPerThread : 0;
  const uint32_t* start = args.sequences.query_start;
  int64_t most_rows = 0, rows = kAttentionRows;
  for (int64_t s = 0; s < args.sequences.num_sequences; ++s) {
    most_rows = std::max(most_rows, (start[s + 1] - start[s]) * args.num_q_heads / args.cache.num_kv_heads);
  }
  while (rows > kLeastRows && rows / 2 >= most_rows) rows /= 2;  // cuts nothing
  for (;; rows /= 2) {
    int64_t tasks = CutRows(args, rows);
    any_split_ = false;
    if (tasks < enough) tasks = CutSpans(args);
    if (tasks >= enough || rows <= kLeastRows) return tasks;
  }
}

int64_t AttentionRunner::CutRows(const AttentionArgs& args, int64_t rows_per_task) {
  const uint32_t* start = args.sequences.query_start;
  const int64_t heads = args.cache.num_kv_heads, group = args.num_q_heads / heads;
  sequences_.clear();
  int64_t tasks = 0;
  for (int64_t s = 0; s < args.sequences.num_sequences; ++s) {
    const int64_t rows = (start[s + 1] - start[s]) * group, row_blocks = DivideUp(rows, rows_per_task);
    sequences_.push_back({tasks, rows, rows_per_task, row_blocks, 0, 0});
    tasks += heads * row_blocks;
  }
  return tasks;
}

int64_t AttentionRunner::CutSpans(const AttentionArgs& args) {
  const int64_t heads = args.cache.num_kv_heads;
  int64_t tasks = 0, lines = 0;
  for (Sequence& sequence : sequences_) {
    const bool fits = sequence.rows > 0 && sequence.rows <= kAttentionRows;
    const SpanRange range = fits ? SpansOf(WholeTask(args, sequence, 0)) : SpanRange{0, 0};
    const int64_t spans = range.end - range.begin;
    sequence.first_task = tasks;
    if (spans > sequence.row_blocks) {
      sequence.spans = spans;
      sequence.partial_lines = lines;
      lines += heads * spans * sequence.rows * LinesPerRow(args);
    }
    tasks += heads * std::max(sequence.row_blocks, spans);
  }
  any_split_ = lines > 0;
  if (static_cast<size_t>(lines) > partials_.size()) partials_.resize(static_cast<size_t>(lines));
  return tasks;
}

void AttentionRunner::RunTask(const AttentionArgs& args, int64_t index) {
  const auto after = std::upper_bound(sequences_.begin(), sequences_.end(), index,
                                      [](int64_t i, const Sequence& sequence) { return i < sequence.first_task; });
  const Sequence& sequence = *std::prev(after);
  const AttentionKernels& kernels = kernels_.attention[static_cast<int>(args.cache.type)];
  const int64_t task = index - sequence.first_task;
  if (sequence.spans > 0) {
    const int64_t kv_head = task / sequence.spans, span = task % sequence.spans;
    const AttentionTask whole = WholeTask(args, sequence, kv_head);
    kernels.run_span(whole, SpansOf(whole).begin + span, Partials(args, sequence, kv_head, span));
    return;
  }
  // By rows: a thread begins with those that its products are about, too.
  const int64_t heads = args.cache.num_kv_heads;
  AttentionTask part = WholeTask(args, sequence, task % heads);
  part.row_begin = task / heads * sequence.rows_per_task;
  part.row_end = std::min(part.row_begin + sequence.rows_per_task, sequence.rows);
  kernels.run(part);
}

void AttentionRunner::Join(const AttentionArgs& args, const Sequence& sequence, int64_t kv_head) {
  if (sequence.spans == 0) return;
  kernels_.attention[static_cast<int>(args.cache.type)].join(WholeTask(args, sequence, kv_head),
                                                             Partials(args, sequence, kv_head, 0));
}

float* AttentionRunner::Partials(const AttentionArgs& args, const Sequence& sequence, int64_t kv_head, int64_t span) {
  const int64_t line = sequence.partial_lines + (kv_head * sequence.spans + span) * sequence.rows * LinesPerRow(args);
  return partials_[static_cast<size_t>(line)].floats;
}

AttentionTask AttentionRunner::WholeTask(const AttentionArgs& args, const Sequence& sequence, int64_t kv_head) const {
  return {&args, &sequence - sequences_.data(), kv_head, 0, sequence.rows};
}

}  // namespace slmmesh::kernels
