#include <limits>
#include <nlohmann/json.hpp>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "router/openai/field_reader.h"
#include "router/openai/sampling_options.h"

namespace slmmesh {
namespace {

using nlohmann::json;

constexpr size_t kMaxStopBytes = 1024;
constexpr size_t kMaxListEntries = 1024;

void ReadStop(FieldReader* reader, uint32_t max_stop, std::vector<std::string>* stop) {
  const json* value = reader->Take("stop");
  if (value == nullptr) return;
  const json list = value->is_string() ? json::array({*value}) : *value;
  if (!list.is_array()) return reader->Fail("stop", "must be a string or an array of strings");
  if (list.size() > max_stop) {
    return reader->Fail("stop", absl::StrCat(list.size(), " strings are too many; give at most ", max_stop));
  }
  for (const json& entry : list) {
    if (!entry.is_string()) return reader->Fail("stop", absl::StrCat(ShowJson(entry), " is not a string"));
    const auto& text = entry.get_ref<const std::string&>();
    if (text.empty() || text.size() > kMaxStopBytes) {
      return reader->Fail(
          "stop", absl::StrCat("a string of ", text.size(), " bytes; give each 1 to ", kMaxStopBytes, " bytes"));
    }
    stop->push_back(text);
  }
}

void ReadStopTokenIds(FieldReader* reader, std::vector<uint32_t>* ids) {
  const json* value = reader->Take("stop_token_ids");
  if (value == nullptr) return;
  if (!value->is_array() || value->size() > kMaxListEntries) {
    return reader->Fail("stop_token_ids", absl::StrCat("must be an array of at most ", kMaxListEntries, " token ids"));
  }
  for (const json& entry : *value) {
    if (!entry.is_number_unsigned() || entry.get<uint64_t>() > std::numeric_limits<int32_t>::max()) {
      return reader->Fail("stop_token_ids", absl::StrCat(ShowJson(entry), " is not a token id"));
    }
    ids->push_back(entry.get<uint32_t>());
  }
}

void ReadLogitBias(FieldReader* reader, std::vector<std::pair<uint32_t, float>>* biases) {
  const json* value = reader->Take("logit_bias");
  if (value == nullptr) return;
  if (!value->is_object() || value->size() > kMaxListEntries) {
    return reader->Fail("logit_bias",
                        absl::StrCat("must be an object of at most ", kMaxListEntries, " token ids and biases"));
  }
  for (const auto& item : value->items()) {
    uint32_t token = 0;
    if (!absl::SimpleAtoi(item.key(), &token)) {
      return reader->Fail("logit_bias", absl::StrCat(ShowJson(item.key()), " is not a token id"));
    }
    const double bias = item.value().is_number() ? item.value().get<double>() : std::numeric_limits<double>::infinity();
    if (!(bias >= -100 && bias <= 100)) {
      return reader->Fail("logit_bias", absl::StrCat(ShowJson(item.value()), " is not a number from -100 to 100"));
    }
    biases->emplace_back(token, static_cast<float>(bias));
  }
}

// vLLM writes -1 for "all tokens".
void ReadTopK(FieldReader* reader, std::optional<uint32_t>* top_k) {
  const json* value = reader->Take("top_k");
  if (value == nullptr) return;
  if (value->is_number_integer() && value->get<int64_t>() == -1) {
    *top_k = 0;
    return;
  }
  reader->Unsigned("top_k", 0, std::numeric_limits<int32_t>::max(), top_k);
}

void ReadSeed(FieldReader* reader, std::optional<uint64_t>* seed) {
  const json* value = reader->Take("seed");
  if (value == nullptr) return;
  if (!value->is_number_integer()) return reader->Fail("seed", absl::StrCat(ShowJson(*value), " is not an integer"));
  *seed = value->is_number_unsigned() ? value->get<uint64_t>() : static_cast<uint64_t>(value->get<int64_t>());
}

}  // namespace

void ReadSamplingOptions(FieldReader* reader, const RequestLimits& limits, SamplingOptions* options) {
  reader->Float("temperature", 0, 2, &options->temperature);
  reader->Float("top_p", std::numeric_limits<float>::min(), 1, &options->top_p);
  reader->Float("min_p", 0, 1, &options->min_p);
  reader->Float("repetition_penalty", 0.01, 100, &options->repetition_penalty);
  reader->Float("presence_penalty", -2, 2, &options->presence_penalty);
  reader->Float("frequency_penalty", -2, 2, &options->frequency_penalty);
  ReadTopK(reader, &options->top_k);
  ReadSeed(reader, &options->seed);
  ReadLogitBias(reader, &options->logit_bias);
  ReadStop(reader, limits.max_stop, &options->stop);
  ReadStopTokenIds(reader, &options->stop_token_ids);
  reader->Unsigned("min_tokens", 0, std::numeric_limits<int32_t>::max(), &options->min_tokens);
  reader->Boolean("ignore_eos", &options->ignore_eos);
  reader->Boolean("include_stop_str_in_output", &options->include_stop_str_in_output);
  reader->Boolean("skip_special_tokens", &options->skip_special_tokens);
  reader->Unsigned("n", 1, limits.max_n, &options->n);
}

void ReadStreamOptions(FieldReader* reader, StreamOptions* options) {
  reader->Boolean("stream", &options->stream);
  const json* value = reader->Take("stream_options");
  if (value == nullptr || reader->failed()) return;
  if (!value->is_object()) return reader->Fail("stream_options", "must be an object");
  if (!options->stream) return reader->Fail("stream_options", "only allowed with \"stream\": true");
  FieldReader fields(*value, "stream_options.");
  fields.Boolean("include_usage", &options->include_usage);
  bool obfuscation = false;
  fields.Boolean("include_obfuscation", &obfuscation);
  if (obfuscation) fields.Fail("include_obfuscation", "not supported here; leave it out");
  if (absl::Status status = fields.Finish(); !status.ok()) reader->Fail(std::move(status));
}

}  // namespace slmmesh
