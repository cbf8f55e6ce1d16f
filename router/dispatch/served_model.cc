#include "router/dispatch/served_model.h"

#include "common/status.h"

namespace slmmesh {

absl::StatusOr<std::shared_ptr<const ServedModel>> ServedModel::Create(const std::string& model_key, v1::ModelInfo info,
                                                                       RouterMetrics* metrics) {
  if (info.served_name().empty() || info.max_model_len() < 2 || info.block_size() == 0) {
    return absl::InvalidArgumentError("the worker's ModelInfo lacks served_name, max_model_len or block_size");
  }
  auto model = std::make_shared<ServedModel>();
  model->model_key = model_key;
  ASSIGN_OR_RETURN(model->tokenizer, text::Tokenizer::Create(info.tokenizer_json()));
  if (!info.chat_template().empty()) {
    ASSIGN_OR_RETURN(model->chat_template,
                     text::ChatTemplate::Create(info.chat_template(), {info.bos_token(), info.eos_token()}));
  }
  model->fingerprint = "fp_" + info.digest().substr(0, 12);
  model->metrics = metrics->ForModel(info.served_name());
  info.clear_tokenizer_json();  // megabytes that nobody reads again
  info.clear_chat_template();
  model->info = std::move(info);
  return std::shared_ptr<const ServedModel>(std::move(model));
}

}  // namespace slmmesh
