#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "router/openai/api_error.h"
#include "router/openai/chat_request.h"
#include "router/openai/completion_request.h"
#include "router/openai/tokenize_request.h"

namespace slmmesh {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

std::string Chat(const std::string& fields) {
  return absl::StrCat(R"({"messages":[{"role":"user","content":"Hi"}])", fields.empty() ? "" : ",", fields, "}");
}
std::string Completion(const std::string& fields) {
  return absl::StrCat(R"({"prompt":"Hi")", fields.empty() ? "" : ",", fields, "}");
}

struct Refusal {
  std::string fields;
  std::string param;
  std::string says;
};

void ExpectRefused(const absl::Status& status, const Refusal& refusal) {
  SCOPED_TRACE(refusal.fields);
  ASSERT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  const ApiError error = ToApiError(status);
  EXPECT_EQ(error.http_status, 400);
  EXPECT_EQ(error.param, refusal.param);
  EXPECT_THAT(error.message, StartsWith(refusal.param + ": "));
  EXPECT_THAT(error.message, HasSubstr(refusal.says));
}

// What both kinds of completion refuse.
const Refusal kShared[] = {
    {R"("temperature":-0.1)", "temperature", "from 0 to 2"},
    {R"("temperature":2.1)", "temperature", "2.1 is out of range"},
    {R"("temperature":"1")", "temperature", "not a number"},
    {R"("top_p":0)", "top_p", "out of range"},
    {R"("top_p":1.5)", "top_p", "out of range"},
    {R"("top_k":-2)", "top_k", "out of range"},
    {R"("top_k":1.5)", "top_k", "not an integer"},
    {R"("min_p":1.1)", "min_p", "from 0 to 1"},
    {R"("repetition_penalty":0)", "repetition_penalty", "out of range"},
    {R"("presence_penalty":2.5)", "presence_penalty", "from -2 to 2"},
    {R"("frequency_penalty":-3)", "frequency_penalty", "from -2 to 2"},
    {R"("logit_bias":[1])", "logit_bias", "must be an object"},
    {R"("logit_bias":{"x":1})", "logit_bias", "not a token id"},
    {R"("logit_bias":{"1":101})", "logit_bias", "from -100 to 100"},
    {R"("seed":1.5)", "seed", "not an integer"},
    {R"("stop":3)", "stop", "string or an array"},
    {R"("stop":[3])", "stop", "not a string"},
    {R"("stop":"")", "stop", "1 to 1024 bytes"},
    {R"("stop":["a","b","c"])", "stop", "at most 2"},
    {R"("stop_token_ids":[-1])", "stop_token_ids", "not a token id"},
    {R"("min_tokens":-1)", "min_tokens", "out of range"},
    {R"("max_tokens":-1)", "max_tokens", "out of range"},
    {R"("max_tokens":99999999999999999999)", "max_tokens", "not an integer"},
    {R"("ignore_eos":1)", "ignore_eos", "true or false"},
    {R"("n":0)", "n", "from 1 to 8"},
    {R"("n":9)", "n", "from 1 to 8"},
    {R"("stream":"yes")", "stream", "true or false"},
    {R"("stream_options":{})", "stream_options", "only allowed with \"stream\": true"},
    {R"("stream":true,"stream_options":{"x":1})", "stream_options.x", "unknown field"},
    {R"("stream":true,"stream_options":{"include_obfuscation":true})", "stream_options.include_obfuscation",
     "not supported"},
    {R"("response_format":{"type":"json_object"})", "response_format", "only {\"type\":\"text\"}"},
    {R"("model":7)", "model", "not a string"},
    {R"("guided_json":{})", "guided_json", "unknown field"},
    {R"("use_beam_search":true)", "use_beam_search", "unknown field"},
};

const RequestLimits kLimits{/*max_n=*/8, /*max_stop=*/2, 0};

TEST(ChatRequest, RefusesByName) {
  for (const Refusal& refusal : kShared)
    ExpectRefused(ParseChatRequest(Chat(refusal.fields), kLimits).status(), refusal);
  const Refusal own[] = {
      {R"("tools":[{"type":"function"}])", "tools", "not supported"},
      {R"("functions":[{}])", "functions", "not supported"},
      {R"("tool_choice":"auto")", "tool_choice", "only \"none\""},
      {R"("function_call":"auto")", "function_call", "only \"none\""},
      {R"("audio":{})", "audio", "not supported"},
      {R"("modalities":["text","audio"])", "modalities", "only [\"text\"]"},
      {R"("prediction":{})", "prediction", "not supported"},
      {R"("web_search_options":{})", "web_search_options", "not supported"},
      {R"("reasoning_effort":"low")", "reasoning_effort", "not supported"},
      {R"("verbosity":"low")", "verbosity", "not supported"},
      {R"("suffix":"x")", "suffix", "unknown field"},
      {R"("best_of":2)", "best_of", "unknown field"},
      {R"("echo":true)", "echo", "unknown field"},
      {R"("max_tokens":0)", "max_tokens", "out of range"},
      {R"("max_completion_tokens":0)", "max_completion_tokens", "out of range"},
      {R"("max_tokens":1,"max_completion_tokens":2)", "max_tokens", "contradicts"},
      {R"("logprobs":3)", "logprobs", "true or false"},
      {R"("top_logprobs":3)", "top_logprobs", "only allowed with"},
      {R"("logprobs":true,"top_logprobs":21)", "top_logprobs", "from 0 to 20"},
      {R"("chat_template_kwargs":[])", "chat_template_kwargs", "must be an object"},
      {R"("chat_template_kwargs":{"messages":1})", "chat_template_kwargs", "the router's own"},
  };
  for (const Refusal& refusal : own) ExpectRefused(ParseChatRequest(Chat(refusal.fields), kLimits).status(), refusal);
}

TEST(ChatRequest, RefusesMessages) {
  const Refusal cases[] = {
      {R"({})", "messages", "missing"},
      {R"({"messages":"Hi"})", "messages", "array"},
      {R"({"messages":[]})", "messages", "at least one"},
      {R"({"messages":["Hi"]})", "messages[0]", "object"},
      {R"({"messages":[{"content":"Hi"}]})", "messages[0].role", "none of system"},
      {R"({"messages":[{"role":"robot","content":"Hi"}]})", "messages[0].role", "\"robot\" is none of"},
      {R"({"messages":[{"role":"user"}]})", "messages[0].content", "missing"},
      {R"({"messages":[{"role":"user","content":7}]})", "messages[0].content", "text parts"},
      {R"({"messages":[{"role":"user","content":["Hi"]}]})", "messages[0].content[0]", "object"},
      {R"({"messages":[{"role":"user","content":[{"type":"image_url","image_url":{}}]}]})",
       "messages[0].content[0].type", "\"image_url\" parts are not supported"},
      {R"({"messages":[{"role":"user","content":[{"type":"text"}]}]})", "messages[0].content[0].text", "missing"},
      {R"({"messages":[{"role":"user","content":"Hi","mood":"good"}]})", "messages[0].mood", "unknown field"},
      {R"({"messages":[{"role":"assistant","tool_calls":[{}]}]})", "messages[0].tool_calls", "not supported"},
      {R"({"messages":[{"role":"user","content":"Hi","tool_call_id":"x"}]})", "messages[0].tool_call_id", "unknown"},
      {R"({"messages":[{"role":"assistant","content":"Hi","audio":{}}]})", "messages[0].audio", "not supported"},
  };
  for (const Refusal& refusal : cases) ExpectRefused(ParseChatRequest(refusal.fields, kLimits).status(), refusal);
}

TEST(ChatRequest, TakesWhatChangesNothing) {
  const std::string fields =
      R"("user":"u","metadata":{"a":1},"store":true,"service_tier":"auto","safety_identifier":"s",)"
      R"("prompt_cache_key":"k","prompt_cache_retention":"24h","parallel_tool_calls":true,"tools":[],"functions":[],)"
      R"("tool_choice":"none","function_call":"none","response_format":{"type":"text"},"modalities":["text"],)"
      R"("audio":null,"temperature":null,"stop":null,"reasoning_effort":null,"unheard_of":null)";
  EXPECT_EQ(ToApiError(ParseChatRequest(Chat(fields), kLimits).status()).param, "unheard_of");
  const std::string known = fields.substr(0, fields.find(",\"unheard_of\""));
  const auto request = ParseChatRequest(Chat(known), kLimits);
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_FALSE(request->sampling.temperature.has_value());
}

TEST(ChatRequest, ReadsEverything) {
  const auto request = ParseChatRequest(
      R"({"model":"m","messages":[{"role":"developer","content":"Be kind."},
          {"role":"user","name":"ann","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},
          {"role":"assistant","content":null,"tool_calls":[]},{"role":"tool","content":"t","tool_call_id":"c1"}],
          "temperature":0.5,"top_p":0.9,"top_k":-1,"min_p":0.1,"repetition_penalty":1.1,"presence_penalty":-1,
          "frequency_penalty":2,"seed":-1,"n":3,"stop":["x","yy"],"stop_token_ids":[5],"logit_bias":{"7":-100},
          "max_completion_tokens":9,"min_tokens":2,"ignore_eos":true,"logprobs":true,"top_logprobs":4,"stream":true,
          "stream_options":{"include_usage":true},"include_stop_str_in_output":true,"skip_special_tokens":false,
          "chat_template_kwargs":{"enable_thinking":false},"add_generation_prompt":false})",
      kLimits);
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(MessagesJson(request->messages),
            R"([{"role":"system","content":"Be kind."},{"role":"user","content":"a\nb","name":"ann"},)"
            R"({"role":"assistant","content":""},{"role":"tool","content":"t","tool_call_id":"c1"}])");
  const SamplingOptions& sampling = request->sampling;
  EXPECT_EQ(sampling.temperature, 0.5f);
  EXPECT_EQ(sampling.top_k, 0u);
  EXPECT_EQ(sampling.seed, ~uint64_t{0});
  EXPECT_EQ(sampling.n, 3u);
  EXPECT_THAT(sampling.stop, ElementsAre("x", "yy"));
  EXPECT_THAT(sampling.stop_token_ids, ElementsAre(5));
  EXPECT_THAT(sampling.logit_bias, ElementsAre(std::make_pair(7u, -100.0f)));
  EXPECT_EQ(sampling.max_tokens, 9u);
  EXPECT_EQ(sampling.top_logprobs, 4u);
  EXPECT_TRUE(sampling.include_stop_str_in_output && sampling.ignore_eos && !sampling.skip_special_tokens);
  EXPECT_TRUE(request->stream.stream && request->stream.include_usage);
  EXPECT_EQ(request->template_kwargs_json, R"({"enable_thinking":false})");
  EXPECT_FALSE(request->add_generation_prompt);
}

TEST(CompletionRequest, RefusesByName) {
  for (const Refusal& refusal : kShared) {
    ExpectRefused(ParseCompletionRequest(Completion(refusal.fields), kLimits).status(), refusal);
  }
  const Refusal own[] = {
      {R"("suffix":"x")", "suffix", "not supported"},
      {R"("best_of":2)", "best_of", "2 is not n (1)"},
      {R"("echo":"yes")", "echo", "true or false"},
      {R"("logprobs":true)", "logprobs", "not an integer"},
      {R"("logprobs":21)", "logprobs", "from 0 to 20"},
      {R"("max_tokens":0)", "max_tokens", "only allowed with \"echo\": true"},
      {R"("tools":[])", "tools", "unknown field"},
      {R"("messages":[])", "messages", "unknown field"},
  };
  for (const Refusal& refusal : own) {
    ExpectRefused(ParseCompletionRequest(Completion(refusal.fields), kLimits).status(), refusal);
  }
  const Refusal prompts[] = {
      {R"({})", "prompt", "missing"},
      {R"({"prompt":null})", "prompt", "missing"},
      {R"({"prompt":7})", "prompt", "neither a string"},
      {R"({"prompt":["a",7]})", "prompt", "neither a string"},
      {R"({"prompt":[1,"a"]})", "prompt", "not a token id"},
      {R"({"prompt":[[1],[-1]]})", "prompt", "not a token id"},
      {R"({"prompt":[1.5]})", "prompt", "not a token id"},
      {R"({"prompt":["a","b","c"],"n":3})", "n", "at most 8 choices"},
      {R"({"prompt":["","","","","","","","",""]})", "prompt", "9 prompts are too many"},
  };
  for (const Refusal& refusal : prompts)
    ExpectRefused(ParseCompletionRequest(refusal.fields, kLimits).status(), refusal);
}

TEST(CompletionRequest, TakesEveryKindOfPrompt) {
  const std::pair<const char*, std::vector<Prompt>> cases[] = {
      {R"("Hi")", {PromptText("Hi")}},
      {R"(["a","b"])", {PromptText("a"), PromptText("b")}},
      {R"([1,2])", {PromptTokens{1, 2}}},
      {R"([[1],[2,3]])", {PromptTokens{1}, PromptTokens{2, 3}}},
  };
  for (const auto& [prompt, want] : cases) {
    const auto request = ParseCompletionRequest(absl::StrCat("{\"prompt\":", prompt, "}"), kLimits);
    ASSERT_TRUE(request.ok()) << request.status();
    EXPECT_EQ(request->prompts, want) << prompt;
  }
  EXPECT_TRUE(
      ParseCompletionRequest(Completion(R"("best_of":2,"n":2,"suffix":"","echo":true,"max_tokens":0)"), kLimits).ok());
}

TEST(Requests, AreJsonObjects) {
  for (const char* body : {"", "{", "[]", "\"x\"", "{\"prompt\":\"\xff\"}", "{\"prompt\":1e999}"}) {
    EXPECT_EQ(ParseCompletionRequest(body, kLimits).status().code(), absl::StatusCode::kInvalidArgument) << body;
  }
  const std::string deep(100000, '[');
  EXPECT_THAT(std::string(ParseCompletionRequest("{\"prompt\":" + deep, kLimits).status().message()),
              HasSubstr("nested deeper"));
}

TEST(TokenizeRequest, TakesPromptOrMessages) {
  EXPECT_EQ(ParseTokenizeRequest(R"({"prompt":"x"})")->prompt, "x");
  EXPECT_TRUE(ParseTokenizeRequest(R"({"messages":[{"role":"user","content":"x"}]})")->is_chat);
  EXPECT_FALSE(ParseTokenizeRequest(R"({})").ok());
  EXPECT_FALSE(ParseTokenizeRequest(R"({"prompt":"x","messages":[{"role":"user","content":"x"}]})").ok());
  EXPECT_THAT(ParseDetokenizeRequest(R"({"tokens":[1,2]})")->tokens, ElementsAre(1, 2));
  EXPECT_FALSE(ParseDetokenizeRequest(R"({"tokens":[-1]})").ok());
}

v1::ModelInfo Model() {
  v1::ModelInfo model;
  model.set_vocab_size(100);
  model.set_max_model_len(64);
  model.mutable_generation_defaults()->set_temperature(0.6f);
  model.mutable_generation_defaults()->set_top_k(50);
  return model;
}

TEST(ResolveSampling, RequestBeforeOperatorBeforeModel) {
  SamplingOptions options;
  SamplingDefaults defaults;
  EXPECT_EQ(ResolveSampling({}, {}, Model(), {}, 4, 0)->temperature(), 0.6f);
  defaults.sampling.set_temperature(0.8f);
  EXPECT_EQ(ResolveSampling({}, defaults, Model(), {}, 4, 0)->temperature(), 0.8f);
  EXPECT_EQ(ResolveSampling({}, defaults, Model(), {}, 4, 0)->top_k(), 50u);
  options.temperature = 0.0f;
  const auto params = ResolveSampling(options, defaults, Model(), {}, 4, 0);
  EXPECT_EQ(params->temperature(), 0.0f);
  EXPECT_EQ(params->top_p(), 1.0f);
  EXPECT_EQ(params->repetition_penalty(), 1.0f);
  EXPECT_FALSE(params->has_top_logprobs());
}

TEST(ResolveSampling, MaxTokensFitTheContext) {
  struct Case {
    std::optional<uint32_t> asked;
    uint32_t operators, fallback, prompt;
    uint32_t want;  // 0: refused
  };
  const Case cases[] = {
      {std::nullopt, 0, 0, 60, 4},
      {std::nullopt, 0, 16, 4, 16},
      {std::nullopt, 0, 16, 60, 4},
      {std::nullopt, 9, 16, 4, 9},
      {std::nullopt, 9, 0, 60, 4},
      {4, 9, 16, 60, 4},
      {5, 0, 0, 60, 0},
      {std::nullopt, 0, 0, 63, 1},
      {std::nullopt, 0, 0, 64, 0},
      {1, 0, 0, 64, 0},
      {std::nullopt, 0, 0, 0, 0},
  };
  for (const Case& c : cases) {
    SamplingOptions options;
    options.max_tokens = c.asked;
    SamplingDefaults defaults;
    defaults.max_tokens = c.operators;
    const auto params = ResolveSampling(options, defaults, Model(), {}, c.prompt, c.fallback);
    EXPECT_EQ(params.ok() ? params->max_tokens() : 0, c.want) << c.prompt << " " << params.status();
  }
}

TEST(ResolveSampling, RefusesWhatTheModelCannot) {
  SamplingOptions options;
  options.logit_bias = {{100, 1.0f}};
  EXPECT_EQ(ToApiError(ResolveSampling(options, {}, Model(), {}, 4, 0).status()).param, "logit_bias");
  options = {};
  options.min_tokens = 17;
  EXPECT_EQ(ToApiError(ResolveSampling(options, {}, Model(), {}, 4, 16).status()).param, "min_tokens");
  EXPECT_EQ(ToApiError(ResolveSampling({}, {}, Model(), {128, 16, /*max_prompt_tokens=*/3}, 4, 0).status()).code,
            "context_length_exceeded");
}

TEST(ChoiceSeed, FirstIsTheRequestsOwn) {
  EXPECT_EQ(ChoiceSeed(5, 0), 5u);
  EXPECT_NE(ChoiceSeed(5, 1), ChoiceSeed(5, 2));
  EXPECT_NE(ChoiceSeed(5, 1), ChoiceSeed(6, 1));
  EXPECT_EQ(ChoiceSeed(5, 1), ChoiceSeed(5, 1));
}

}  // namespace
}  // namespace slmmesh
