#include "router/openai/response.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "router/openai/api_error.h"
#include "router/openai/json_text.h"

namespace slmmesh {
namespace {

using nlohmann::json;

ResponseWriter Writer(CompletionKind kind, LogprobDetail logprobs = LogprobDetail::kNone, bool include_usage = false) {
  return ResponseWriter({kind, "1", "m", "fp_1", 99, logprobs, include_usage});
}

TokenLogprobText Token(const std::string& bytes, float logprob, size_t offset) {
  TokenLogprobText token;
  token.bytes = bytes;
  token.logprob = logprob;
  token.top = {{"x", -0.25f}};
  token.text_offset = offset;
  return token;
}

TEST(ResponseWriter, WholeChat) {
  const std::string got =
      Writer(CompletionKind::kChat)
          .Whole({{0, "Hi \"you\"\n", {}, v1::FINISH_REASON_STOP}, {1, "", {}, v1::FINISH_REASON_LENGTH}}, {3, 5, 2});
  EXPECT_EQ(got,
            R"({"id":"chatcmpl-1","object":"chat.completion","created":99,"model":"m","system_fingerprint":"fp_1",)"
            R"("choices":[{"index":0,"message":{"role":"assistant","content":"Hi \"you\"\n","refusal":null},)"
            R"("logprobs":null,"finish_reason":"stop"},{"index":1,"message":{"role":"assistant","content":"",)"
            R"("refusal":null},"logprobs":null,"finish_reason":"length"}],"usage":{"prompt_tokens":3,"total_tokens":8,)"
            R"("completion_tokens":5,"prompt_tokens_details":{"cached_tokens":2}}})");
}

TEST(ResponseWriter, WholeCompletionWithLogprobs) {
  const json answer =
      json::parse(Writer(CompletionKind::kText, LogprobDetail::kTop)
                      .Whole({{0,
                               "é!",
                               {Token("\xc3", -0.5f, 0), Token("\xa9", -1, 0), Token("!", -INFINITY, 1)},
                               v1::FINISH_REASON_LENGTH}},
                             {}));
  EXPECT_EQ(answer["id"], "cmpl-1");
  EXPECT_EQ(answer["object"], "text_completion");
  const json& choice = answer["choices"][0];
  EXPECT_EQ(choice["text"], "é!");
  EXPECT_EQ(choice["logprobs"]["tokens"], json({"bytes:\\xc3", "bytes:\\xa9", "!"}));
  EXPECT_EQ(choice["logprobs"]["token_logprobs"], json({-0.5, -1.0, -9999.0}));
  EXPECT_EQ(choice["logprobs"]["text_offset"], json({0, 0, 1}));
  EXPECT_EQ(choice["logprobs"]["top_logprobs"][2], json({{"x", -0.25}, {"!", -9999.0}})) << "the chosen one is there";
}

TEST(ResponseWriter, ChatLogprobs) {
  const json answer = json::parse(Writer(CompletionKind::kChat, LogprobDetail::kTop)
                                      .Whole({{0, "a", {Token("a", -0.5f, 0)}, v1::FINISH_REASON_STOP}}, {}));
  EXPECT_EQ(answer["choices"][0]["logprobs"], json::parse(R"({"content":[{"token":"a","logprob":-0.5,"bytes":[97],
      "top_logprobs":[{"token":"x","logprob":-0.25,"bytes":[120]}]}],"refusal":null})"));
}

TEST(ResponseWriter, Chunks) {
  const ResponseWriter writer = Writer(CompletionKind::kChat, LogprobDetail::kNone, /*include_usage=*/true);
  std::string events;
  writer.AppendRole(&events, 0);
  writer.AppendPart(&events, {0, "a", {}, v1::FINISH_REASON_UNSPECIFIED});
  writer.AppendPart(&events, {0, "", {}, v1::FINISH_REASON_STOP});
  writer.AppendUsage(&events, {1, 2, 0});
  ResponseWriter::AppendDone(&events);
  const std::string head = R"(data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":99,"model":"m",)"
                           R"("system_fingerprint":"fp_1","choices":[)";
  EXPECT_EQ(
      events,
      head +
          R"({"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"usage":null})"
          "\n\n" +
          head +
          R"({"index":0,"delta":{"content":"a"},"logprobs":null,"finish_reason":null}],"usage":null})"
          "\n\n" +
          head +
          R"({"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"usage":null})"
          "\n\n" +
          head +
          R"(],"usage":{"prompt_tokens":1,"total_tokens":3,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":0}}})"
          "\n\n"
          "data: [DONE]\n\n");
}

TEST(ErrorJson, HasOpenAisShape) {
  EXPECT_EQ(ErrorJson(ToApiError(WithCode(RefuseField("n", "no"), "c"))),
            R"({"error":{"message":"n: no","type":"invalid_request_error","param":"n","code":"c"}})");
  EXPECT_EQ(ErrorJson(ToApiError(absl::InternalError("x"))),
            R"({"error":{"message":"x","type":"internal_error","param":null,"code":null}})");
  const std::pair<absl::StatusCode, int> statuses[] = {
      {absl::StatusCode::kUnauthenticated, 401},   {absl::StatusCode::kNotFound, 404},
      {absl::StatusCode::kResourceExhausted, 429}, {absl::StatusCode::kCancelled, 499},
      {absl::StatusCode::kUnavailable, 503},       {absl::StatusCode::kDeadlineExceeded, 504}};
  for (const auto& [code, status] : statuses) EXPECT_EQ(ToApiError(absl::Status(code, "")).http_status, status);
  EXPECT_EQ(ToApiError(WithRetryAfter(absl::UnavailableError(""), 7)).retry_after_seconds, 7);
}

TEST(JsonText, EveryByteSequenceBecomesValidJson) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all.push_back(static_cast<char>(byte));
  for (const std::string& text : {all, std::string("\xed\xa0\x80"), std::string("\xf4\x90\x80\x80"),
                                  std::string("\xc0\x80"), std::string("é€😀"), std::string("\xe2\x82")}) {
    std::string quoted;
    AppendJsonString(&quoted, text);
    const json parsed = json::parse(quoted, nullptr, false);
    ASSERT_FALSE(parsed.is_discarded()) << quoted;
    if (IsValidUtf8(text)) {
      EXPECT_EQ(parsed.get<std::string>(), text);
    }
  }
  EXPECT_FALSE(IsValidUtf8(all));
  EXPECT_EQ(CountCharacters("é€😀"), 3u);
  EXPECT_EQ(CutText("é€", 4), "é…");
}

TEST(JsonText, FloatsReadBackTheSame) {
  for (float value : {0.0f, -0.1f, 1e-30f, -12.345678f, 3e20f, 16777216.0f}) {
    std::string text;
    AppendJsonFloat(&text, value);
    EXPECT_EQ(json::parse(text).get<float>(), value) << text;
  }
}

}  // namespace
}  // namespace slmmesh
