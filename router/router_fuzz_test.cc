// Damaged input never crashes and never leaves the range of answers: the parsers of JSON bodies, and the HTTP server
// on a real socket. A fixed number of rounds from a printed seed.
#include <gtest/gtest.h>

#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <random>

#include "absl/strings/str_cat.h"
#include "router/dispatch/loop.h"
#include "router/http/http_server.h"
#include "router/openai/api_error.h"
#include "router/openai/chat_request.h"
#include "router/openai/completion_request.h"
#include "router/openai/tokenize_request.h"
#include "router/testing/http_client.h"
#include "tests/fuzz/mutator.h"

namespace slmmesh {
namespace {

constexpr int kBodyRounds = 20000;
constexpr int kHttpRounds = 1500;

const char* const kBodies[] = {
    R"({"model":"m","messages":[{"role":"user","content":"Hi é"},{"role":"assistant","content":[{"type":"text","text":"x"}]}],"temperature":0.5,"seed":-1,"stop":["a","b"],"logit_bias":{"7":-1.5},"n":2,"stream":true,"stream_options":{"include_usage":true},"chat_template_kwargs":{"a":[1,{}]}})",
    R"({"prompt":["a","b"],"max_tokens":4,"logprobs":3,"echo":true,"best_of":1,"user":"u"})",
    R"({"prompt":[[1,2],[3]],"stop_token_ids":[1,2],"top_k":-1,"min_tokens":0})",
    R"({"tokens":[1,2,3],"model":"m"})",
};

uint64_t NewSeed() {
  const uint64_t seed = std::random_device()();
  std::cout << "seed " << seed << "\n";
  return seed;
}

template <typename T>
void ExpectProperAnswer(const absl::StatusOr<T>& parsed) {
  if (parsed.ok()) return;
  ASSERT_EQ(ToApiError(parsed.status()).http_status, 400) << parsed.status();
  ErrorJson(ToApiError(parsed.status()));
}

// Puts a value of another kind in the place of one that is somewhere inside: bytes alone seldom keep JSON valid.
std::string ReplaceOneValue(const std::string& body, Mutator* mutator) {
  static const char* const kValues[] = {
      "null", "true", "-1",      "1.5", "18446744073709551615", "\"\"", "\"x\"", "[]", "{}",
      "[[]]", "[{}]", "[\"x\"]", "[1]", "{\"type\":\"text\"}"};
  nlohmann::json root = nlohmann::json::parse(body);
  nlohmann::json* value = &root;
  while (value->is_structured() && !value->empty() && (value == &root || mutator->Next() % 3 != 0)) {
    value = &*std::next(value->begin(), mutator->Next() % value->size());
  }
  *value = nlohmann::json::parse(kValues[mutator->Next() % std::size(kValues)]);
  return root.dump();
}

TEST(RouterFuzz, Bodies) {
  Mutator mutator(NewSeed());
  for (int round = 0; round < kBodyRounds; ++round) {
    const std::string good = kBodies[mutator.Next() % 4];
    const std::string body = mutator.Next() % 2 == 0 ? mutator.Mutate(good) : ReplaceOneValue(good, &mutator);
    SCOPED_TRACE(round);
    const auto chat = ParseChatRequest(body, {});
    ExpectProperAnswer(chat);
    if (chat.ok()) MessagesJson(chat->messages);
    ExpectProperAnswer(ParseCompletionRequest(body, {}));
    ExpectProperAnswer(ParseTokenizeRequest(body));
    ExpectProperAnswer(ParseDetokenizeRequest(body));
  }
}

class EchoHandler final : public HttpHandler {
 public:
  void Handle(HttpRequest request, std::shared_ptr<HttpExchange> exchange) override {
    HttpResponse response;
    response.body = std::to_string(request.body.size());
    exchange->Respond(std::move(response));
  }
  HttpResponse ProtocolError(int status, const std::string&) override { return {status, "text/plain", {}, "no"}; }
};

TEST(RouterFuzz, Http) {
  Mutator mutator(NewSeed());
  Metrics metrics;
  RouterMetrics router_metrics(&metrics);
  EchoHandler handler;
  Loop loop(0);
  HttpServer::Options options;
  options.address = "127.0.0.1:0";
  options.limits.max_header_bytes = 1024;
  options.limits.max_body_bytes = 1024;
  options.limits.read_timeout = absl::Milliseconds(100);  // a request that was cut short ends here
  options.limits.idle_timeout = absl::Milliseconds(100);
  options.loops = {&loop};
  options.handler = &handler;
  options.metrics = &router_metrics;
  std::unique_ptr<HttpServer> server = HttpServer::Listen(std::move(options)).value();
  loop.Start();
  const std::string good[] = {
      absl::StrCat("POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: ", std::string("{\"a\":1}").size(),
                   "\r\nContent-Type: application/json\r\n\r\n{\"a\":1}GET /healthz HTTP/1.1\r\n\r\n"),
      "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
      "HEAD /x?y=z HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
  };
  for (int round = 0; round < kHttpRounds; ++round) {
    TestHttpClient client(server->address());
    client.Send(mutator.Mutate(good[mutator.Next() % 3]));
    if (round % 50 == 0) client.ReceiveUntil("\r\n\r\n");
  }
  TestHttpClient client(server->address());
  client.Send("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc");
  EXPECT_EQ(client.Receive().body, "3") << "still serves";
  client.Close();
  loop.Stop();
  loop.Join();
  server.reset();
}

}  // namespace
}  // namespace slmmesh
