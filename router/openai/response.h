// OpenAI's answers: whole ones, and the chunks of a stream. Pure: strings out of values.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "router/openai/token_logprob.h"
#include "slmmesh/v1/sampling.pb.h"

namespace slmmesh {

struct UsageCounts {
  uint64_t prompt_tokens = 0;
  uint64_t completion_tokens = 0;
  uint64_t cached_tokens = 0;
};

// What a choice says: all of it, or what one chunk adds.
struct ChoicePart {
  uint32_t index = 0;
  std::string text;
  std::vector<TokenLogprobText> logprobs;
  v1::FinishReason finish_reason = v1::FINISH_REASON_UNSPECIFIED;
};

enum class CompletionKind { kChat, kText };
enum class LogprobDetail { kNone, kChosen, kTop };  // kChosen: completions with logprobs = 0

// "stop", "length"; empty while unfinished.
const char* FinishReasonName(v1::FinishReason reason);

// One per request; builds every JSON object of its answer. Immutable.
class ResponseWriter {
 public:
  struct Options {
    CompletionKind kind = CompletionKind::kChat;
    std::string request_id;
    std::string model;
    std::string fingerprint;
    int64_t created_unix_seconds = 0;
    LogprobDetail logprobs = LogprobDetail::kNone;
    bool include_usage = false;  // streams: a last chunk with usage, "usage":null in all others
  };
  explicit ResponseWriter(Options options);

  std::string Whole(const std::vector<ChoicePart>& choices, const UsageCounts& usage) const;

  // Server-sent events, each "data: …\n\n".
  void AppendRole(std::string* out, uint32_t index) const;  // a chat's first chunk of a choice
  void AppendPart(std::string* out, const ChoicePart& part) const;
  void AppendUsage(std::string* out, const UsageCounts& usage) const;
  static void AppendDone(std::string* out);
  static void AppendError(std::string* out, const std::string& error_json);

 private:
  std::string Head(const char* object) const;
  void AppendChunkEnd(std::string* out) const;
  void AppendChoice(std::string* out, const ChoicePart& part) const;
  void AppendLogprobsAndFinish(std::string* out, const ChoicePart& part) const;

  const Options options_;
  const std::string chunk_head_;
};

// {"object":"list","data":[{"id":…}…]} and one entry of it.
struct ModelEntry {
  std::string name;
  int64_t created_unix_seconds = 0;
  uint32_t max_model_len = 0;
};
std::string ModelJson(const ModelEntry& model);
std::string ModelListJson(const std::vector<ModelEntry>& models);

}  // namespace slmmesh
