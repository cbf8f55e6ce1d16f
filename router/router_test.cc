// What clients get when all is well.
#include <nlohmann/json.hpp>

#include "common/files.h"
#include "router/testing/router_fixture.h"

namespace slmmesh {
namespace {

using nlohmann::json;
using testing::HasSubstr;

TEST_F(RouterTest, AnswersAChat) {
  StartMesh();
  const auto client = Client();
  client->SendRequest("POST", "/v1/chat/completions", kChat, {"X-Request-Id: my-id.1"});
  const v1::Submit submit = worker_->NextSubmit();
  EXPECT_EQ(TextOf(submit), kPrompt);
  EXPECT_EQ(submit.request_id(), "my-id.1");
  EXPECT_EQ(submit.sampling().max_tokens(), 8u);
  EXPECT_EQ(submit.sampling().temperature(), 1.0f);
  worker_->SendText(submit.handle(), "Bonjour!");
  const HttpReply reply = client->Receive();
  ASSERT_EQ(reply.status, 200);
  EXPECT_EQ(reply.headers.at("x-request-id"), "my-id.1");
  const json answer = json::parse(reply.body);
  EXPECT_EQ(answer["object"], "chat.completion");
  EXPECT_EQ(answer["id"], "chatcmpl-my-id.1");
  EXPECT_EQ(answer["system_fingerprint"], "fp_0123456789ab");
  EXPECT_EQ(answer["choices"][0]["message"]["content"], "Bonjour!");
  EXPECT_EQ(answer["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(answer["usage"]["prompt_tokens"], submit.prompt_tokens_size());
  EXPECT_EQ(answer["usage"]["completion_tokens"], 8);
}

TEST_F(RouterTest, SpecialTokensInUserTextAreText) {
  StartMesh();
  const auto client = Client();
  client->SendRequest("POST", "/v1/chat/completions",
                      R"({"messages":[{"role":"user","content":"<|im_end|>"}],"max_tokens":1})");
  const v1::Submit submit = worker_->NextSubmit();
  int ends = 0;
  for (uint32_t token : submit.prompt_tokens()) ends += token == kImEnd;
  EXPECT_EQ(ends, 1) << "only the template's own";
  worker_->SendText(submit.handle(), "x");
  EXPECT_EQ(client->Receive().status, 200);
}

TEST_F(RouterTest, StreamsTokensAsTheyCome) {
  StartMesh();
  const auto client = Client();
  client->SendRequest("POST", "/v1/chat/completions",
                      R"({"messages":[{"role":"user","content":"Hi"}],"max_tokens":4,"stream":true,)"
                      R"("stream_options":{"include_usage":true}})");
  const v1::Submit submit = worker_->NextSubmit();
  worker_->SendToken(submit.handle(), 0, 'a');
  EXPECT_THAT(client->ReceiveUntil("\"content\":\"a\""), HasSubstr("\"role\":\"assistant\""));
  worker_->SendToken(submit.handle(), 1, 0xc3);  // half of é
  worker_->SendToken(submit.handle(), 2, 0xa9);
  client->ReceiveUntil("\"content\":\"é\"");
  v1::SessionResponse end;
  v1::TokenOutput* output = end.add_outputs();
  output->set_handle(submit.handle());
  output->set_token_id(kImEnd);
  output->set_is_stop_token(true);
  output->set_finish_reason(v1::FINISH_REASON_STOP);
  worker_->Send(end);
  const std::string rest = client->ReceiveUntil("0\r\n\r\n");
  EXPECT_THAT(rest, HasSubstr("\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\""));
  EXPECT_THAT(rest, HasSubstr("\"choices\":[],\"usage\":{\"prompt_tokens\":"));
  EXPECT_THAT(rest, HasSubstr("\"completion_tokens\":4"));
  EXPECT_THAT(rest, HasSubstr("data: [DONE]\n\n"));
  // The connection goes on.
  EXPECT_EQ(client->Get("/healthz").status, 200);
}

TEST_F(RouterTest, TwoChoicesHaveSeedsOfTheirOwn) {
  StartMesh();
  std::vector<uint64_t> seeds;
  for (int round = 0; round < 2; ++round) {
    const auto client = Client();
    client->SendRequest("POST", "/v1/chat/completions",
                        R"({"messages":[{"role":"user","content":"Hi"}],"max_tokens":1,"n":2,"seed":7})");
    const v1::Submit first = worker_->NextSubmit(), second = worker_->NextSubmit();
    seeds.push_back(first.sampling().seed());
    seeds.push_back(second.sampling().seed());
    worker_->SendText(second.handle(), "B");
    worker_->SendText(first.handle(), "A");
    const json answer = json::parse(client->Receive().body);
    EXPECT_EQ(answer["choices"][0]["message"]["content"], "A");
    EXPECT_EQ(answer["choices"][1]["message"]["content"], "B");
    EXPECT_EQ(answer["usage"]["completion_tokens"], 2);
  }
  EXPECT_EQ(seeds[0], 7u);
  EXPECT_NE(seeds[1], 7u);
  EXPECT_EQ(seeds[0], seeds[2]);
  EXPECT_EQ(seeds[1], seeds[3]);
}

TEST_F(RouterTest, AStopStringEndsTheRequestAtTheWorker) {
  StartMesh();
  const auto client = Client();
  client->SendRequest("POST", "/v1/completions", R"({"prompt":"x","max_tokens":99,"stop":["END"]})");
  const v1::Submit submit = worker_->NextSubmit();
  worker_->SendText(submit.handle(), "one ENDed", v1::FINISH_REASON_UNSPECIFIED);
  const json answer = json::parse(client->Receive().body);
  EXPECT_EQ(answer["choices"][0]["text"], "one ");
  EXPECT_EQ(answer["choices"][0]["finish_reason"], "stop");
  const v1::SessionRequest cancel = worker_->Next();
  ASSERT_TRUE(cancel.has_cancel());
  EXPECT_EQ(cancel.cancel().handle(), submit.handle());
}

TEST_F(RouterTest, EchoWithLogprobsScoresThePrompt) {
  StartMesh();
  const auto client = Client();
  client->SendRequest("POST", "/v1/completions", R"({"prompt":"ab","max_tokens":0,"echo":true,"logprobs":1})");
  const v1::Submit submit = worker_->NextSubmit();
  EXPECT_TRUE(submit.sampling().prompt_logprobs());
  EXPECT_EQ(submit.sampling().max_tokens(), 1u);
  v1::SessionResponse response;
  v1::TokenOutput* output = response.add_outputs();
  output->set_handle(submit.handle());
  output->set_token_id('z');
  output->set_logprob(-3);
  output->set_finish_reason(v1::FINISH_REASON_LENGTH);
  v1::PromptLogprob* prompt = output->add_prompt_logprobs();
  prompt->set_logprob(-0.5);
  prompt->add_top_logprobs()->set_token_id('c');
  worker_->Send(response);
  const json choice = json::parse(client->Receive().body)["choices"][0];
  EXPECT_EQ(choice["text"], "ab");
  EXPECT_EQ(choice["logprobs"]["tokens"], json({"a", "b"}));
  EXPECT_EQ(choice["logprobs"]["token_logprobs"], json({nullptr, -0.5}));
  EXPECT_EQ(choice["logprobs"]["text_offset"], json({0, 1}));
}

TEST_F(RouterTest, KeysLetTenantsIn) {
  RouterOptions options;
  options.api_keys_file = *folder_ / "keys";
  ASSERT_TRUE(WriteFileAtomic(options.api_keys_file, "# tenants\nalice:key-a\nbob:key-b\n").ok());
  StartMesh(std::move(options));
  const auto client = Client();
  EXPECT_EQ(client->Post("/v1/chat/completions", kChat).status, 401);
  EXPECT_EQ(client->Post("/v1/chat/completions", kChat, {"Authorization: Bearer key-c"}).status, 401);
  EXPECT_EQ(client->Get("/v1/models").status, 401);
  EXPECT_EQ(client->Get("/healthz").status, 200);
  EXPECT_EQ(client->Get("/v1/models", {"Authorization: Bearer key-a"}).status, 200);
  client->SendRequest("POST", "/v1/chat/completions", kChat, {"Authorization: Bearer key-b"});
  const v1::Submit submit = worker_->NextSubmit();
  EXPECT_EQ(submit.tenant(), "bob");
  EXPECT_EQ(submit.cache_salt(), "bob");
  worker_->SendText(submit.handle(), "x");
  EXPECT_EQ(client->Receive().status, 200);
}

TEST_F(RouterTest, PipelinedRequestsAreAnsweredInOrder) {
  StartMesh();
  const auto client = Client();
  client->SendRequest("POST", "/v1/chat/completions", kChat);
  client->SendRequest("GET", "/healthz", "");
  client->SendRequest("GET", "/v1/models", "");
  worker_->SendText(worker_->NextSubmit().handle(), "first");
  EXPECT_THAT(client->Receive().body, HasSubstr("first"));
  EXPECT_EQ(client->Receive().body, "ok\n");
  EXPECT_EQ(json::parse(client->Receive().body)["data"][0]["id"], "fake");
}

TEST_F(RouterTest, ServesClientsOverTls) {
  RouterOptions options;
  options.tls_cert_file = Tls(Role::kRouter).cert;
  options.tls_key_file = Tls(Role::kRouter).key;
  StartMesh(std::move(options));
  TestHttpClient client(router_->http_address(), Tls(Role::kRouter).ca);
  EXPECT_EQ(client.Get("/healthz").status, 200);
  client.SendRequest("POST", "/v1/chat/completions", kChatStream);
  const v1::Submit submit = worker_->NextSubmit();
  worker_->SendToken(submit.handle(), 0, 'a');
  client.ReceiveUntil("\"content\":\"a\"");
  client.Close();
  EXPECT_EQ(worker_->Next().cancel().handle(), submit.handle());
}

TEST_F(RouterTest, PlaintextStaysOnLoopback) {
  head_ = std::make_unique<FakeHead>(Tls(Role::kHead), "127.0.0.1:0", "head-1");
  RouterOptions options;
  options.listen = "0.0.0.0:0";
  options.head_address = head_->address();
  options.cluster = kFakeCluster;
  options.tls = Tls(Role::kRouter);
  EXPECT_EQ(Router::Start(options).status().code(), absl::StatusCode::kInvalidArgument);
  options.allow_plaintext = true;
  EXPECT_TRUE(Router::Start(options).ok());
}

TEST_F(RouterTest, ToolsBesideTheApi) {
  StartMesh();
  const auto client = Client();
  const json tokens = json::parse(client->Post("/tokenize", R"({"prompt":"ab","return_token_strs":true})").body);
  EXPECT_EQ(tokens, json::parse(R"({"count":2,"max_model_len":256,"tokens":[97,98],"token_strs":["a","b"]})"));
  EXPECT_EQ(json::parse(client->Post("/tokenize", R"({"messages":[{"role":"user","content":"Hi"}]})").body)["count"],
            21)
      << "3 special tokens and 18 bytes";
  EXPECT_EQ(json::parse(client->Post("/detokenize", R"({"tokens":[97,98]})").body), json({{"prompt", "ab"}}));
  EXPECT_EQ(json::parse(client->Get("/v1/models/fake").body)["max_model_len"], 256);
  EXPECT_EQ(client->Get("/v1/models/other").status, 404);
  const std::string metrics = client->Get("/metrics").body;
  EXPECT_THAT(metrics, HasSubstr("slmmesh_router_routable_groups 1"));
  EXPECT_THAT(metrics, HasSubstr("vllm:time_to_first_token_seconds"));
}

}  // namespace
}  // namespace slmmesh
