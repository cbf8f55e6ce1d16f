#include "kernels/cpu/attention_task.h"

namespace slmmesh::kernels {

AttentionRow RowOf(const AttentionTask& task, int64_t row) {
  const AttentionArgs& args = *task.args;
  const int64_t group = args.num_q_heads / args.cache.num_kv_heads, head_dim = args.cache.head_dim;
  const int64_t token = args.sequences.query_start[task.sequence] + row / group;
  const int64_t q_head = task.kv_head * group + row % group;
  const int64_t position = args.sequences.positions[token], window = args.sliding_window;
  return {window > 0 && position >= window ? position - window + 1 : 0, position,
          args.qkv + (token * (args.num_q_heads + 2 * args.cache.num_kv_heads) + q_head) * head_dim,
          args.out + (token * args.num_q_heads + q_head) * head_dim};
}

SpanRange SpansOf(const AttentionTask& task) {
  return {RowOf(task, task.row_begin).first / kAttentionSpan, RowOf(task, task.row_end - 1).last / kAttentionSpan + 1};
}

}  // namespace slmmesh::kernels
