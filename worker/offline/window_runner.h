// One model, alone on this machine, that reads windows of tokens and says all their logits.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "worker/model/model.h"

namespace slmmesh {

class WindowRunner {
 public:
  // For windows of at most `context` tokens. The backend must outlive it.
  static absl::StatusOr<std::unique_ptr<WindowRunner>> Create(std::shared_ptr<const Checkpoint> checkpoint,
                                                              kernels::Backend* backend, const WeightOptions& weights,
                                                              int64_t context);

  const Model& model() const { return *model_; }

  // Positions [begin, begin + count) of a window whose earlier ones were run before, in one step. Logits of all of
  // them, [count, vocab_size], valid until the next call.
  absl::StatusOr<absl::Span<const float>> Run(absl::Span<const uint32_t> window, int64_t begin, int64_t count);

 private:
  WindowRunner(std::unique_ptr<Model> model, std::unique_ptr<Communicator> communicator)
      : model_(std::move(model)), communicator_(std::move(communicator)) {}

  const std::unique_ptr<Model> model_;
  const std::unique_ptr<Communicator> communicator_;
};

}  // namespace slmmesh
