// The steps that model-bench times, and what each needs of the machine.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "worker/model/model.h"

namespace slmmesh {

constexpr uint32_t kBenchBlockSize = 16;
constexpr uint32_t kBenchChunk = 512;  // tokens of a prompt per step: mesh-worker's --max-num-batched-tokens

struct BenchStep {
  std::string kind;               // "prefill" or "decode"
  uint32_t count;                 // tokens of the prompt, or sequences
  std::vector<StepBatch> chunks;  // one but for long prompts
  double operations;              // multiplications and additions, attention's visible half included
  uint32_t kv_blocks;             // that hold the sequences
};

// A prompt of `tokens` from an empty cache, with the logits of its last token.
BenchStep PrefillStep(const ModelConfig& config, uint32_t tokens);
// One token of each of `sequences`, with `context` positions before it and its logits.
BenchStep DecodeStep(const ModelConfig& config, uint32_t sequences, uint32_t context);

}  // namespace slmmesh
