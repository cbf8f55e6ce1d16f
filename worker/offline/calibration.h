// What the projections' inputs look like while the model reads a text: the sums of products of their columns.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/checkpoint/checkpoint.h"

namespace slmmesh {

enum class ProjectionInput { kAttention, kOutput, kMlp, kDown };  // of q, k, v; of o; of gate and up; of down
constexpr int kNumProjectionInputs = 4;

struct CalibrationOptions {
  std::string text;                        // a file in UTF-8
  int64_t tokens = 16384;                  // of its beginning, at most
  int64_t context = 512;                   // tokens that are read together
  int threads = 0;                         // 0: all that this process may run on
  uint64_t max_bytes = uint64_t{2} << 30;  // of sums in memory, if one layer's fit
};

// Loads the model in bf16. Reads the text once for as many layers as fit: ask for layers in ascending order.
class Calibration {
 public:
  static absl::StatusOr<std::unique_ptr<Calibration>> Create(std::shared_ptr<const Checkpoint> checkpoint,
                                                             const CalibrationOptions& options);
  virtual ~Calibration() = default;

  // X^T X [columns, columns] of the input X [tokens, columns], row-major; valid until a layer is asked for that is not
  // in memory.
  virtual absl::StatusOr<const std::vector<float>*> Moments(int64_t layer, ProjectionInput input) = 0;
};

}  // namespace slmmesh
