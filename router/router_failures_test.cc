// What clients get when something is not: refusals, limits, broken peers, stops.
#include <nlohmann/json.hpp>
#include <thread>

#include "absl/strings/str_cat.h"
#include "router/testing/router_fixture.h"

namespace slmmesh {
namespace {

using nlohmann::json;
using testing::HasSubstr;

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

}  // namespace
}  // namespace slmmesh
