// The whole router between a real HTTP client and a scripted head and worker, over real TLS.
#include "router/router.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/files.h"
#include "common/temporary_folder.h"
#include "router/testing/byte_tokenizer.h"
#include "router/testing/fake_mesh.h"
#include "router/testing/http_client.h"
#include "slmmesh/v1/inference.grpc.pb.h"

namespace slmmesh {
namespace {

using nlohmann::json;
using testing::HasSubstr;

constexpr char kChat[] = R"({"model":"fake","messages":[{"role":"user","content":"Hi"}],"max_tokens":8})";
constexpr char kChatStream[] =
    R"({"model":"fake","messages":[{"role":"user","content":"Hi"}],"max_tokens":8,"stream":true})";
constexpr char kPrompt[] = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n";

class RouterTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TemporaryFolder;
    const auto authority = CertificateAuthority::Create(kFakeCluster).value();
    for (Role role : {Role::kHead, Role::kRouter, Role::kWorker, Role::kAdmin}) {
      const absl::Status status =
          authority->IssueInto(*folder_ / std::string(RoleName(role)), role, std::string(RoleName(role)), 3600);
      ASSERT_TRUE(status.ok()) << status;
    }
  }
  static void TearDownTestSuite() { delete folder_; }

  static TlsFiles Tls(Role role) { return TlsFilesIn(*folder_ / std::string(RoleName(role))); }

  void StartMesh(RouterOptions options = {}) {
    head_ = std::make_unique<FakeHead>(Tls(Role::kHead), "127.0.0.1:0", "head-1");
    worker_ = std::make_unique<FakeWorker>(Tls(Role::kWorker), FakeModel());
    StartRouter(std::move(options));
    head_->Publish(FakeTable(*worker_));
    WaitUntilRoutable(1);
  }

  void StartRouter(RouterOptions options) {
    options.listen = "127.0.0.1:0";
    options.head_address = head_->address();
    options.cluster = kFakeCluster;
    options.router_id = "router-0";
    options.tls = Tls(Role::kRouter);
    options.threads = 2;
    auto router = Router::Start(std::move(options));
    ASSERT_TRUE(router.ok()) << router.status();
    router_ = *std::move(router);
  }

  void WaitUntilRoutable(uint64_t epoch) {
    const v1::RouterReport report = head_->WaitForReport([epoch](const v1::RouterReport& report) {
      return report.routable_size() == 1 && report.routable(0).epoch() == epoch;
    });
    ASSERT_EQ(report.routable_size(), 1);
    EXPECT_EQ(report.http_endpoint(), router_->http_address());
  }

  std::unique_ptr<TestHttpClient> Client() { return std::make_unique<TestHttpClient>(router_->http_address()); }

  static TemporaryFolder* folder_;
  std::unique_ptr<FakeHead> head_;
  std::unique_ptr<FakeWorker> worker_;
  std::unique_ptr<Router> router_;
};

TemporaryFolder* RouterTest::folder_ = nullptr;

std::string TextOf(const v1::Submit& submit) {
  std::string text;
  for (uint32_t token : submit.prompt_tokens()) {
    text += token == kImStart ? "<|im_start|>" : token == kImEnd ? "<|im_end|>" : std::string(1, static_cast<char>(token));
  }
  return text;
}

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

TEST_F(RouterTest, AClientThatLeavesCancels) {
  StartMesh();
  for (const char* body : {kChat, kChatStream}) {
    const auto client = Client();
    client->SendRequest("POST", "/v1/chat/completions", body);
    const v1::Submit submit = worker_->NextSubmit();
    if (body == kChatStream) {
      worker_->SendToken(submit.handle(), 0, 'a');
      client->ReceiveUntil("\"content\":\"a\"");
    }
    client->Close();
    const v1::SessionRequest cancel = worker_->Next();
    ASSERT_TRUE(cancel.has_cancel()) << body;
    EXPECT_EQ(cancel.cancel().handle(), submit.handle());
  }
}

TEST_F(RouterTest, ABrokenSessionIsAnErrorAndComesBack) {
  StartMesh();
  const auto whole = Client(), streaming = Client();
  whole->SendRequest("POST", "/v1/chat/completions", kChat);
  worker_->NextSubmit();
  streaming->SendRequest("POST", "/v1/chat/completions", kChatStream);
  worker_->SendToken(worker_->NextSubmit().handle(), 0, 'a');
  streaming->ReceiveUntil("\"content\":\"a\"");
  worker_->BreakSessions();
  const HttpReply reply = whole->Receive();
  EXPECT_EQ(reply.status, 503);
  EXPECT_EQ(reply.headers.count("retry-after"), 1u);
  EXPECT_THAT(reply.body, HasSubstr("service_unavailable_error"));
  const std::string rest = streaming->ReceiveUntil("0\r\n\r\n");
  EXPECT_THAT(rest, HasSubstr("data: {\"error\":"));
  EXPECT_THAT(rest, testing::Not(HasSubstr("[DONE]")));
  // A new session to the same epoch; the request that waits for it is served.
  whole->SendRequest("POST", "/v1/chat/completions", kChat);
  worker_->SendText(worker_->NextSubmit().handle(), "x");
  EXPECT_EQ(whole->Receive().status, 200);
}

TEST_F(RouterTest, ServesOnWithoutTheHeadAndWithANewOne) {
  StartMesh();
  const std::string head_address = head_->address();
  head_.reset();
  const auto client = Client();
  const auto ask = [&] {
    client->SendRequest("POST", "/v1/chat/completions", kChat);
    worker_->SendText(worker_->NextSubmit().handle(), "x");
    return client->Receive().status;
  };
  EXPECT_EQ(ask(), 200);
  // A head that knows nobody yet.
  head_ = std::make_unique<FakeHead>(Tls(Role::kHead), head_address, "head-2");
  head_->Publish({});
  head_->WaitForReport([](const v1::RouterReport&) { return true; });
  EXPECT_EQ(ask(), 200);
  // It learns of the group again, now in a new epoch.
  head_->Publish(FakeTable(*worker_, 2));
  WaitUntilRoutable(2);
  EXPECT_EQ(ask(), 200);
}

TEST_F(RouterTest, RefusesWhatNobodyServes) {
  RouterOptions options;
  options.wait_for_group = absl::Milliseconds(100);
  StartMesh(std::move(options));
  const auto client = Client();
  EXPECT_EQ(client->Get("/readyz").status, 200);
  EXPECT_EQ(client->Post("/v1/completions", R"({"model":"other","prompt":"x"})").status, 404);
  v1::ClusterTable table = FakeTable(*worker_);
  table.mutable_groups(0)->set_state(v1::GROUP_STATE_BROKEN);
  head_->Publish(table);
  head_->WaitForReport([](const v1::RouterReport& report) { return report.routable_size() == 0; });
  EXPECT_EQ(client->Post("/v1/completions", R"({"model":"fake","prompt":"x"})").status, 503);
  EXPECT_EQ(client->Get("/readyz").status, 503);
}

TEST_F(RouterTest, ErrorsHaveOpenAisShape) {
  RouterOptions options;
  options.http.max_body_bytes = 2000;
  options.http.max_header_bytes = 2000;
  StartMesh(std::move(options));
  struct Case {
    const char *method, *path, *body;
    int status;
    const char* says;
  };
  const std::string long_body = absl::StrCat("{\"prompt\":\"", std::string(3000, 'x'), "\"}");
  const std::string long_prompt = absl::StrCat("{\"prompt\":\"", std::string(300, 'x'), "\"}");
  const Case cases[] = {
      {"POST", "/v1/completions", "{", 400, "not valid JSON"},
      {"POST", "/v1/completions", R"({"prompt":"x","frob":1})", 400, "\"param\":\"frob\""},
      {"POST", "/v1/completions", R"({"prompt":"x","temperature":3})", 400, "\"param\":\"temperature\""},
      {"POST", "/v1/completions", R"({"prompt":""})", 400, "no tokens"},
      {"POST", "/v1/completions", R"({"prompt":[259]})", 400, "259 is no token"},
      {"POST", "/v1/completions", long_prompt.c_str(), 400, "context_length_exceeded"},
      {"POST", "/v1/completions", R"({"prompt":"xxxxxx","max_tokens":251})", 400, "at most 250"},
      {"POST", "/v1/chat/completions", R"({"messages":[]})", 400, "\"param\":\"messages\""},
      {"GET", "/v1/completions", "", 405, "takes POST"},
      {"GET", "/v1/nothing", "", 404, "no such path"},
      {"POST", "/v1/completions", long_body.c_str(), 413, "longer than 2000"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(absl::StrCat(c.path, " ", c.says));
    const auto client = Client();
    client->SendRequest(c.method, c.path, c.body);
    const HttpReply reply = client->Receive();
    EXPECT_EQ(reply.status, c.status) << reply.body;
    EXPECT_THAT(reply.body, HasSubstr(c.says));
    EXPECT_TRUE(json::parse(reply.body)["error"].contains("type"));
  }
  const auto client = Client();
  EXPECT_EQ(client->Get("/healthz", {"X-Long: " + std::string(3000, 'x')}).status, 431);
  const auto texts = Client();
  texts->Send("POST /v1/completions HTTP/1.1\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}");
  EXPECT_EQ(texts->Receive().status, 415);
  EXPECT_FALSE(worker_->HasRequests());
}

TEST_F(RouterTest, WorkersErrorsKeepTheirStatus) {
  StartMesh();
  const auto client = Client();
  const std::pair<grpc::StatusCode, int> cases[] = {{grpc::StatusCode::RESOURCE_EXHAUSTED, 429},
                                                    {grpc::StatusCode::INVALID_ARGUMENT, 400},
                                                    {grpc::StatusCode::DEADLINE_EXCEEDED, 504},
                                                    {grpc::StatusCode::INTERNAL, 500}};
  for (const auto& [code, status] : cases) {
    client->SendRequest("POST", "/v1/chat/completions", kChatStream);
    worker_->SendError(worker_->NextSubmit().handle(), code, "because");
    const HttpReply reply = client->Receive();
    EXPECT_EQ(reply.status, status);
    EXPECT_THAT(reply.body, HasSubstr("because"));
    EXPECT_EQ(reply.headers.count("retry-after"), status == 429 ? 1u : 0u);
  }
}

TEST_F(RouterTest, ADeadlineEndsTheRequest) {
  StartMesh();
  const auto client = Client();
  client->SendRequest("POST", "/v1/chat/completions", kChat, {"X-Request-Timeout-Ms: 60"});
  const v1::Submit submit = worker_->NextSubmit();
  EXPECT_LE(submit.timeout_ms(), 60u);
  EXPECT_EQ(client->Receive().status, 504);
  EXPECT_EQ(worker_->Next().cancel().handle(), submit.handle());
}

TEST_F(RouterTest, RefusesWhatWouldWaitTooLong) {
  StartMesh();
  v1::SessionResponse report;
  report.mutable_load()->set_waiting_prompt_tokens(100000);
  report.mutable_load()->set_prefill_tokens_per_second(1000);
  worker_->Send(report);
  // The report has arrived when a request sent after it is answered by the same stream.
  const auto client = Client();
  client->SendRequest("POST", "/v1/chat/completions", kChat);
  worker_->SendText(worker_->NextSubmit().handle(), "x");
  EXPECT_EQ(client->Receive().status, 200);
  client->SendRequest("POST", "/v1/chat/completions", kChat, {"X-Request-Timeout-Ms: 5000"});
  const HttpReply reply = client->Receive();
  EXPECT_EQ(reply.status, 429);
  EXPECT_GE(std::stoi(reply.headers.at("retry-after")), 90);
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

TEST_F(RouterTest, LimitsConnectionsAndTime) {
  RouterOptions options;
  options.http.max_connections = 2;
  options.http.read_timeout = absl::Milliseconds(100);
  options.http.idle_timeout = absl::Milliseconds(100);
  StartMesh(std::move(options));
  {
    const auto slow = Client(), idle = Client();
    slow->Send("POST /v1/completions HTTP/1.1\r\nContent-Length: 5\r\n\r\n{");
    EXPECT_EQ(idle->Get("/healthz").status, 200);
    EXPECT_EQ(Client()->Receive().status, 503);
    EXPECT_EQ(slow->Receive().status, 408);
    EXPECT_EQ(idle->ReceiveSome(), "") << "closed without a word";
  }
}

TEST_F(RouterTest, ASlowReaderIsCutOff) {
  RouterOptions options;
  options.http.max_output_bytes = 4096;
  StartMesh(std::move(options));
  const auto client = Client();
  client->SendRequest("POST", "/v1/completions", R"({"prompt":"x","max_tokens":200,"stream":true})");
  const v1::Submit submit = worker_->NextSubmit();
  worker_->SendText(submit.handle(), std::string(200, 'x'), v1::FINISH_REASON_UNSPECIFIED);  // some 40 KB of events
  EXPECT_TRUE(worker_->Next().has_cancel());
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
            21) << "3 special tokens and 18 bytes";
  EXPECT_EQ(json::parse(client->Post("/detokenize", R"({"tokens":[97,98]})").body), json({{"prompt", "ab"}}));
  EXPECT_EQ(json::parse(client->Get("/v1/models/fake").body)["max_model_len"], 256);
  EXPECT_EQ(client->Get("/v1/models/other").status, 404);
  const std::string metrics = client->Get("/metrics").body;
  EXPECT_THAT(metrics, HasSubstr("slmmesh_router_routable_groups 1"));
  EXPECT_THAT(metrics, HasSubstr("vllm:time_to_first_token_seconds"));
}

TEST_F(RouterTest, DrainsBeforeItStops) {
  StartMesh();
  const auto client = Client();
  client->SendRequest("POST", "/v1/chat/completions", kChat);
  const v1::Submit submit = worker_->NextSubmit();
  std::thread drain([this] { router_->Drain(absl::Seconds(20)); });
  worker_->SendText(submit.handle(), "last");
  EXPECT_THAT(client->Receive().body, HasSubstr("last"));
  drain.join();
  router_.reset();
}

TEST_F(RouterTest, StopsWithRequestsUnderWay) {
  StartMesh();
  const auto client = Client();
  client->SendRequest("POST", "/v1/chat/completions", kChat);
  worker_->NextSubmit();
  router_.reset();
  EXPECT_EQ(client->Receive().status, 0);
}

class RouterGrpcTest : public RouterTest {
 protected:
  std::unique_ptr<v1::Inference::Stub> Stub() {
    return v1::Inference::NewStub(MakeChannel(Tls(Role::kAdmin), kFakeCluster, Role::kRouter, router_->grpc_address()));
  }
};

TEST_F(RouterGrpcTest, GeneratesFromText) {
  StartMesh();
  const auto stub = Stub();
  grpc::ClientContext context;
  v1::GenerateRequest request;
  request.set_model("fake");
  request.set_text("ab");
  request.mutable_options()->set_max_tokens(3);
  request.mutable_options()->set_temperature(0);
  const auto stream = stub->Generate(&context, request);
  const v1::Submit submit = worker_->NextSubmit();
  EXPECT_EQ(TextOf(submit), "ab");
  EXPECT_EQ(submit.sampling().temperature(), 0);
  worker_->SendText(submit.handle(), "xyz");
  std::string text;
  v1::GenerateResponse response;
  while (stream->Read(&response)) text += response.text();
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(text, "xyz");
  EXPECT_EQ(response.finish_reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(response.usage().completion_tokens(), 3u);
}

TEST_F(RouterGrpcTest, ACancelledCallCancels) {
  StartMesh();
  const auto stub = Stub();
  grpc::ClientContext context;
  v1::GenerateRequest request;
  request.mutable_token_ids()->add_ids('a');
  const auto stream = stub->Generate(&context, request);
  const v1::Submit submit = worker_->NextSubmit();
  context.TryCancel();
  EXPECT_EQ(worker_->Next().cancel().handle(), submit.handle());
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(RouterGrpcTest, RefusesWithReasons) {
  StartMesh();
  const auto stub = Stub();
  const auto status_of = [&](const v1::GenerateRequest& request) {
    grpc::ClientContext context;
    const auto stream = stub->Generate(&context, request);
    v1::GenerateResponse response;
    while (stream->Read(&response)) {
    }
    return stream->Finish().error_code();
  };
  v1::GenerateRequest request;
  request.set_text("x");
  request.set_model("other");
  EXPECT_EQ(status_of(request), grpc::StatusCode::NOT_FOUND);
  request.set_model("fake");
  request.mutable_options()->set_top_p(2);
  EXPECT_EQ(status_of(request), grpc::StatusCode::INVALID_ARGUMENT);
  grpc::ClientContext context;
  v1::ListModelsResponse models;
  ASSERT_TRUE(stub->ListModels(&context, {}, &models).ok());
  EXPECT_EQ(models.models(0).name(), "fake");
}

}  // namespace
}  // namespace slmmesh
