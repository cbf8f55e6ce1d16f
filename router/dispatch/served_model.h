// All that the router knows of one model: immutable, shared by every request for it.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "router/metrics.h"
#include "slmmesh/v1/worker.pb.h"
#include "text/text.h"

namespace slmmesh {

struct ServedModel {
  std::string model_key;
  v1::ModelInfo info;
  std::shared_ptr<const text::Tokenizer> tokenizer;
  std::shared_ptr<const text::ChatTemplate> chat_template;  // null: the model has none
  std::string fingerprint;                                  // system_fingerprint: the digest, short
  ModelMetrics* metrics = nullptr;

  // Compiles tokenizer and template; an answer that cannot be used is refused with the reason.
  static absl::StatusOr<std::shared_ptr<const ServedModel>> Create(const std::string& model_key, v1::ModelInfo info,
                                                                   RouterMetrics* metrics);
};

}  // namespace slmmesh
