// Runs an oracle's tokens through our model as serving would: the prompt in one step, then one token a step.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/model/matrix_format.h"

namespace slmmesh {

struct ReplayOptions {
  kernels::CpuOptions cpu;
  WeightOptions weights = kernels::WeightType::kFloat32;  // the KV cache is fp32 with them, else bf16
  int64_t max_model_len = 0;
};

// Logits [rows, vocab_size] at the given positions (ascending) of prompt + forced.
absl::StatusOr<std::vector<float>> Replay(std::shared_ptr<const Checkpoint> checkpoint, const ReplayOptions& options,
                                          const std::vector<uint32_t>& prompt, const std::vector<uint32_t>& forced,
                                          const std::vector<uint32_t>& rows);

}  // namespace slmmesh
