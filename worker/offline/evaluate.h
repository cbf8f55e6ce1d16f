// `mesh evaluate`: what a model makes of a text (perplexity), and how far it is from a reference (KL divergence).
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "worker/model/matrix_format.h"
#include "worker/offline/logit_comparison.h"

namespace slmmesh {

struct EvaluateOptions {
  std::string model;      // a folder or a .gguf file
  std::string reference;  // empty: none
  std::string text;       // a file in UTF-8
  WeightOptions weights;
  WeightOptions reference_weights;
  int64_t context = 512;  // tokens of a window; those of its second half are predicted
  int64_t tokens = 8192;  // of the text's beginning, at most
  kernels::CpuOptions cpu;
  std::function<void(double fraction)> progress;  // or null
};

absl::StatusOr<EvaluationSummary> Evaluate(const EvaluateOptions& options);

}  // namespace slmmesh
