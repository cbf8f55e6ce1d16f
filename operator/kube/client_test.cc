// The client against an HTTPS server in this process, faults included.
#include "operator/kube/client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <functional>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/files.h"
#include "common/temporary_folder.h"
#include "common/tls.h"
#include "nlohmann/json.hpp"
#include "operator/kube/testing/eventually.h"
#include "operator/kube/testing/fake_api_server.h"
#include "operator/kube/testing/fake_store.h"

namespace slmmesh::kube {
namespace {

using nlohmann::json;
using resources::kPods;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const ObjectRef kPod{kPods, "a", "b", ""};

std::string Page(const std::vector<std::string>& names, const std::string& token, const std::string& version = "7") {
  json items = json::array();
  for (const std::string& name : names) items.push_back({{"metadata", {{"name", name}}}});
  return json{{"metadata", {{"resourceVersion", version}, {"continue", token}}}, {"items", items}}.dump();
}

// Answers one after the other. By value: a handler may still write when the client has given up.
FakeApiServer::Handler InTurn(std::vector<FakeApiServer::Handler> answers) {
  return [answers = std::move(answers), next = std::make_shared<std::atomic<size_t>>(0)](FakeExchange& x) {
    answers.at((*next)++)(x);
  };
}

class ClientTest : public ::testing::Test {
 protected:
  void Serve(FakeApiServer::Handler handler) {
    server_ = FakeApiServer::Start(std::move(handler));
    options_.config = server_->config();
    Connect();
  }
  void Connect() {
    absl::StatusOr<std::unique_ptr<Client>> client = Client::Create(options_);
    ASSERT_TRUE(client.ok()) << client.status();
    client_ = *std::move(client);
  }
  absl::StatusCode GetCode() { return client_->Get(kPod).status().code(); }
  absl::StatusOr<std::vector<std::string>> ListNames(ListOptions options = {}) {
    std::vector<std::string> names;
    options.started_over = [&names] { names.clear(); };
    const absl::StatusOr<std::string> version =
        client_->List(kPods, options, [&names](const json& item) { names.push_back(item["metadata"]["name"]); });
    if (!version.ok()) return version.status();
    version_ = *version;
    return names;
  }
  // Watches until the server ends it; what it saw stands in seen_.
  absl::Status WatchAll() {
    return client_->Watch(
        kPods, {}, "5",
        [this](WatchEventType type, const json& object) {
          seen_.push_back(absl::StrCat(static_cast<int>(type), object["metadata"].value("name", "")));
        },
        [] { return false; });
  }

  std::unique_ptr<FakeApiServer> server_;
  Client::Options options_;
  std::unique_ptr<Client> client_;
  std::string version_;
  std::vector<std::string> seen_;
};

TEST_F(ClientTest, SendsWhatTheApiAsksFor) {
  std::vector<std::string> calls;
  Serve([&calls](FakeExchange& x) {
    std::vector<std::string> query;
    for (const auto& [key, value] : x.query) query.push_back(key + "=" + value);
    calls.push_back(absl::StrJoin({x.method, x.path, absl::StrJoin(query, "&"), x.content_type, x.body}, " "));
    x.Reply(x.method == "POST" ? 201 : 200, "{}");
  });
  EXPECT_TRUE(client_->Get(kPod).ok());
  EXPECT_TRUE(client_->Create(kPod, {{"x", 1}}).ok());
  EXPECT_TRUE(client_->Update(kPod, {{"x", 2}}).ok());
  EXPECT_TRUE(client_->Apply(kPod, {{"x", 3}}, "me", true).ok());
  EXPECT_TRUE(client_->MergePatch({kPods, "a", "b", "status"}, {{"x", 4}}).ok());
  EXPECT_TRUE(client_->Delete(kPod, {.grace_seconds = 5, .uid = "u"}).ok());
  EXPECT_EQ(*client_->GetRaw("/version"), "{}");
  EXPECT_THAT(calls, ElementsAre("GET /api/v1/namespaces/a/pods/b   ",
                                 R"(POST /api/v1/namespaces/a/pods  application/json {"x":1})",
                                 R"(PUT /api/v1/namespaces/a/pods/b  application/json {"x":2})",
                                 "PATCH /api/v1/namespaces/a/pods/b fieldManager=me&force=true "
                                 R"(application/apply-patch+yaml {"x":3})",
                                 R"(PATCH /api/v1/namespaces/a/pods/b/status  application/merge-patch+json {"x":4})",
                                 "DELETE /api/v1/namespaces/a/pods/b  application/json "
                                 R"({"apiVersion":"v1","gracePeriodSeconds":5,"kind":"DeleteOptions",)"
                                 R"("preconditions":{"uid":"u"},"propagationPolicy":"Background"})",
                                 "GET /version   "));
  EXPECT_EQ(server_->connections(), 1) << "kept alive";
  EXPECT_EQ(client_->stats().requests, 7u);
  EXPECT_EQ(client_->stats().failures, 0u);
}

TEST_F(ClientTest, ErrorsCarryTheServersMessage) {
  Serve([](FakeExchange& x) { x.Reply(404, StatusBody(404, "NotFound", "pods \"b\" not found")); });
  const absl::Status status = client_->Get(kPod).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(status.message(), "get pods a/b: pods \"b\" not found");
  EXPECT_EQ(client_->stats().failures, 1u);
}

TEST_F(ClientTest, OnlyTheServerOfOurCaAndNameIsTalkedTo) {
  Serve([](FakeExchange& x) { x.Reply(200, "{}"); });
  options_.config.tls_server_name = "elsewhere.example";
  Connect();
  EXPECT_THAT(std::string(client_->Get(kPod).status().message()), HasSubstr("certificate is refused"));
  options_.config.tls_server_name = "127.0.0.2";
  Connect();
  EXPECT_THAT(std::string(client_->Get(kPod).status().message()), HasSubstr("certificate is refused"));
  options_.config.tls_server_name = "head.kube-test.slmmesh";
  Connect();
  EXPECT_TRUE(client_->Get(kPod).ok());
  options_.config = server_->config();
  options_.config.ca_file.clear();
  options_.config.ca_pem = (*CertificateAuthority::Create("other"))->cert_pem();
  Connect();
  EXPECT_THAT(std::string(client_->Get(kPod).status().message()), HasSubstr("certificate is refused"));
  options_.config = server_->config();
  options_.config.cert_file.clear();
  options_.config.key_file.clear();
  Connect();
  EXPECT_EQ(GetCode(), absl::StatusCode::kUnavailable) << "the server wants a client certificate";
  EXPECT_EQ(server_->requests(), 1);
}

TEST_F(ClientTest, RotatedTokenIsReadAgain) {
  std::string seen;
  Serve([&seen](FakeExchange& x) {
    seen = x.authorization;
    x.Reply(200, "{}");
  });
  const TemporaryFolder folder;
  options_.config.token_file = folder.Write("token", "first\n");
  Connect();
  EXPECT_EQ(GetCode(), absl::StatusCode::kOk);
  EXPECT_EQ(seen, "Bearer first");
  ASSERT_TRUE(WriteFileAtomic(options_.config.token_file, "second-token").ok());
  EXPECT_EQ(GetCode(), absl::StatusCode::kOk);
  EXPECT_EQ(seen, "Bearer second-token");
  std::filesystem::remove(options_.config.token_file);
  EXPECT_EQ(GetCode(), absl::StatusCode::kOk);
  EXPECT_EQ(seen, "Bearer second-token") << "the last good one goes on";
}

TEST_F(ClientTest, RotatedCertificateGetsNewConnections) {
  Serve([](FakeExchange& x) { x.Reply(200, "{}"); });
  EXPECT_EQ(GetCode(), absl::StatusCode::kOk);
  EXPECT_EQ(GetCode(), absl::StatusCode::kOk);
  EXPECT_EQ(server_->connections(), 1);
  const std::string& file = options_.config.cert_file;
  ASSERT_TRUE(WriteFileAtomic(file, *ReadFile(file) + "\n").ok());
  EXPECT_EQ(GetCode(), absl::StatusCode::kOk);
  EXPECT_EQ(server_->connections(), 2);
}

TEST_F(ClientTest, BadCredentialsAreRefusedAtOnce) {
  Serve([](FakeExchange& x) { x.Reply(200, "{}"); });
  options_.config.token_file = "/absent/token";
  EXPECT_FALSE(Client::Create(options_).ok());
  options_.config = server_->config();
  options_.config.key_file.clear();
  options_.config.key_pem = "-----BEGIN nothing";
  EXPECT_FALSE(Client::Create(options_).ok());
  options_.config = server_->config();
  options_.config.key_file.clear();
  options_.config.key_pem = (*CertificateAuthority::Create("x"))->key_pem();
  EXPECT_THAT(std::string(Client::Create(options_).status().message()), HasSubstr("not the certificate's"));
}

// The server closes the idle connection without our noticing before we send.
TEST_F(ClientTest, AStaleConnectionIsReplacedOnceForWhatMayBeRepeated) {
  std::atomic<int> drops{0};
  Serve([&drops](FakeExchange& x) {
    if (drops.fetch_sub(1) > 0) return x.Drop();
    x.Reply(200, "{}");
  });
  EXPECT_EQ(GetCode(), absl::StatusCode::kOk);
  drops = 1;
  EXPECT_EQ(GetCode(), absl::StatusCode::kOk);
  drops = 2;
  EXPECT_EQ(GetCode(), absl::StatusCode::kUnavailable) << "once";
  drops = 0;
  EXPECT_EQ(GetCode(), absl::StatusCode::kOk);
  drops = 1;
  EXPECT_EQ(client_->Create(kPod, json::object()).status().code(), absl::StatusCode::kUnavailable)
      << "it may have been created";
}

TEST_F(ClientTest, AClosedIdleConnectionCostsNothing) {
  Serve([](FakeExchange& x) { x.Reply(200, "{}"); });
  EXPECT_EQ(GetCode(), absl::StatusCode::kOk);
  server_->CloseIdleConnections();
  EXPECT_TRUE(client_->Create(kPod, json::object()).ok());
  EXPECT_EQ(server_->connections(), 2);
}

TEST_F(ClientTest, ABodyThatBreaksOffIsUnavailable) {
  Serve([](FakeExchange& x) {
    x.WriteRaw("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"a\":");
    x.Drop();
  });
  EXPECT_EQ(GetCode(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ListNames().status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(ClientTest, WhatIsNoHttpOrNoJsonIsUnavailable) {
  const std::vector<std::string> answers = {
      "",
      "hello\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{a}",
      "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
      absl::StrCat("HTTP/1.1 200 OK\r\nX: ", std::string(100000, 'x'), "\r\nContent-Length: 2\r\n\r\n{}")};
  std::vector<FakeApiServer::Handler> handlers;
  for (const std::string& answer : answers) {
    handlers.push_back([answer](FakeExchange& x) {
      x.WriteRaw(answer);
      x.Drop();
    });
  }
  Serve(InTurn(std::move(handlers)));
  for (const std::string& answer : answers) {
    EXPECT_EQ(GetCode(), absl::StatusCode::kUnavailable) << answer.substr(0, 80);
  }
}

TEST_F(ClientTest, AnAnswerHasABound) {
  Serve([](FakeExchange& x) {
    x.BeginStream();
    const std::string chunk(1 << 20, ' ');
    while (x.Chunk(chunk)) {
    }
  });
  EXPECT_THAT(std::string(client_->Get(kPod).status().message()), HasSubstr("bytes"));
}

TEST_F(ClientTest, ASlowServerRunsIntoTheDeadline) {
  Serve([](FakeExchange& x) { x.WaitForEnd(); });
  options_.request_timeout = absl::Milliseconds(50);
  Connect();
  EXPECT_EQ(GetCode(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(client_->Create(kPod, json::object()).status().code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(ClientTest, AFullPoolRunsIntoTheDeadline) {
  std::atomic<int> held{0};
  Serve([&held](FakeExchange& x) {
    ++held;
    x.WaitForEnd();
  });
  options_.max_connections = 1;
  options_.request_timeout = absl::Milliseconds(300);
  Connect();
  std::thread holder([this] { EXPECT_EQ(GetCode(), absl::StatusCode::kDeadlineExceeded); });
  ASSERT_TRUE(Eventually([&held] { return held == 1; }));
  EXPECT_EQ(GetCode(), absl::StatusCode::kDeadlineExceeded);
  holder.join();
}

TEST_F(ClientTest, RetryAfterIsHonouredWithinTheDeadline) {
  std::atomic<int> refusals{0};
  int status = 429;
  std::string seconds = "1";
  Serve([&](FakeExchange& x) {
    if (refusals.fetch_sub(1) > 0) return x.Reply(status, "{}", {{"Retry-After", seconds}});
    x.Reply(200, "{}");
  });
  refusals = 1;
  EXPECT_TRUE(client_->Create(kPod, json::object()).ok()) << "a 429 was not carried out";
  seconds = "3600";
  refusals = 1;
  EXPECT_EQ(GetCode(), absl::StatusCode::kResourceExhausted) << "longer than the deadline: told at once";
  seconds = "";
  refusals = 1;
  EXPECT_EQ(GetCode(), absl::StatusCode::kResourceExhausted) << "no time named: final";
  seconds = "1";
  status = 503;
  refusals = 1;
  EXPECT_EQ(client_->Create(kPod, json::object()).status().code(), absl::StatusCode::kUnavailable)
      << "it may have been carried out";
}

TEST_F(ClientTest, ManyThreadsShareTheConnections) {
  Serve([](FakeExchange& x) { x.Reply(200, x.method == "GET" ? "{\"a\":1}" : x.body); });
  options_.max_connections = 4;
  Connect();
  std::vector<std::thread> threads;
  for (int i = 0; i < 16; ++i) {
    threads.emplace_back([this, i] {
      for (int call = 0; call < 20; ++call) {
        const absl::StatusOr<json> echo = client_->Update(kPod, {{"thread", i}, {"call", call}});
        ASSERT_TRUE(echo.ok()) << echo.status();
        EXPECT_EQ((*echo)["thread"], i);
        EXPECT_EQ((*echo)["call"], call);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(server_->connections(), 4);
  EXPECT_EQ(client_->stats().requests, 320u);
}

TEST_F(ClientTest, ListsPageByPage) {
  std::vector<std::string> queries;
  Serve([&queries](FakeExchange& x) {
    queries.push_back(absl::StrCat(x.query["limit"], "|", x.query["continue"], "|", x.query["labelSelector"]));
    x.Reply(200, x.query["continue"].empty() ? Page({"a", "b"}, "t/=") : Page({"c"}, "", "9"));
  });
  EXPECT_THAT(*ListNames({.label_selector = "a=b", .page_size = 2}), ElementsAre("a", "b", "c"));
  EXPECT_EQ(version_, "9");
  EXPECT_THAT(queries, ElementsAre("2||a=b", "2|t/=|a=b"));
}

TEST_F(ClientTest, AnExpiredContinueTokenStartsOverInOnePage) {
  std::vector<std::string> limits;
  Serve([&limits](FakeExchange& x) {
    limits.push_back(x.query["limit"]);
    if (!x.query["continue"].empty()) return x.Reply(410, StatusBody(410, "Expired", "too old"));
    x.Reply(200, limits.back() == "2" ? Page({"gone", "a"}, "t") : Page({"a", "b"}, ""));
  });
  EXPECT_THAT(*ListNames({.page_size = 2}), ElementsAre("a", "b"));
  EXPECT_THAT(limits, ElementsAre("2", "2", ""));
}

TEST_F(ClientTest, AListThatStaysExpiredEnds) {
  Serve([](FakeExchange& x) {
    if (!x.query["continue"].empty()) return x.Reply(410, StatusBody(410, "Expired", "too old"));
    x.Reply(200, Page({"a"}, "t"));
  });
  EXPECT_EQ(ListNames().status().code(), absl::StatusCode::kOutOfRange);
}

TEST_F(ClientTest, AListCanBeCancelled) {
  Serve([](FakeExchange& x) { x.WaitForEnd(); });
  std::atomic<int> asked{0};
  EXPECT_EQ(ListNames({.cancelled = [&asked] { return ++asked > 1; }}).status().code(), absl::StatusCode::kCancelled);
}

TEST_F(ClientTest, WatchesUntilTheServerEnds) {
  std::map<std::string, std::string> query;
  Serve([&query](FakeExchange& x) {
    query = x.query;
    x.BeginStream();
    x.Chunk(R"({"type":"ADDED","object":{"metadata":{"name":"a"}}})"
            "\n"
            R"({"type":"MODI)");
    x.Chunk(R"(FIED","object":{"metadata":{"name":"b"}}})"
            "\n");
    x.Chunk(R"({"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"9"}}})"
            "\n");
    x.Chunk(R"({"type":"DELETED","object":{"metadata":{"name":"c"}}})"
            "\n");
    x.EndStream();
  });
  EXPECT_TRUE(WatchAll().ok());
  EXPECT_THAT(seen_, ElementsAre("0a", "1b", "3", "2c"));
  EXPECT_EQ(query["allowWatchBookmarks"], "true");
  EXPECT_EQ(query["resourceVersion"], "5");
  EXPECT_GE(std::stoi(query["timeoutSeconds"]), 300);
  EXPECT_LE(std::stoi(query["timeoutSeconds"]), 600);
}

TEST_F(ClientTest, WatchesTellWhyTheyEnd) {
  const auto stream = [](std::string bytes) {
    return [bytes = std::move(bytes)](FakeExchange& x) {
      x.BeginStream();
      x.Chunk(bytes);
      x.WaitForEnd();
    };
  };
  Serve(InTurn({
      [](FakeExchange& x) { x.Reply(410, StatusBody(410, "Expired", "too old")); },
      stream(R"({"type":"ERROR","object":{"kind":"Status","code":410,"message":"too old"}})"
             "\n"),
      [](FakeExchange& x) {
        x.Reply(429, "{}", {{"Retry-After", "1"}});
      },
      [](FakeExchange& x) {
        x.BeginStream();
        x.Chunk(R"({"type":"ADDED","object":{"metadata":{"name":"a"}}})"
                "\n"
                R"({"type")");
        x.Drop();
      },
      stream("{]\n"),
      [](FakeExchange& x) {
        x.BeginStream();
        const std::string chunk(1 << 20, 'x');
        while (x.Chunk(chunk)) {
        }
      },
  }));
  EXPECT_EQ(WatchAll().code(), absl::StatusCode::kOutOfRange) << "as HTTP status";
  EXPECT_EQ(WatchAll().code(), absl::StatusCode::kOutOfRange) << "as event";
  EXPECT_EQ(WatchAll().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(WatchAll().code(), absl::StatusCode::kUnavailable) << "broke off";
  EXPECT_THAT(seen_, ElementsAre("0a"));
  EXPECT_EQ(WatchAll().code(), absl::StatusCode::kUnavailable) << "no JSON";
  EXPECT_THAT(std::string(WatchAll().message()), HasSubstr("a line over"));
}

TEST_F(ClientTest, ASilentWatchCanBeCancelled) {
  std::atomic<bool> streaming{false};
  Serve([&streaming](FakeExchange& x) {
    x.BeginStream();
    streaming = true;
    x.WaitForEnd();
  });
  const absl::Status status = client_->Watch(
      kPods, {}, "", [](WatchEventType, const json&) {}, [&streaming] { return streaming.load(); });
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(client_->stats().failures, 0u) << "not a failure";
}

TEST_F(ClientTest, OurOwnLimitOfRequestsHolds) {
  Serve([](FakeExchange& x) { x.Reply(200, "{}"); });
  options_.queries_per_second = 1;
  options_.request_timeout = absl::Milliseconds(500);
  Connect();
  EXPECT_EQ(GetCode(), absl::StatusCode::kOk);
  EXPECT_EQ(GetCode(), absl::StatusCode::kOk) << "the burst";
  EXPECT_EQ(GetCode(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(server_->requests(), 2);
}

TEST(ClientCreateTest, RefusesWrongOptions) {
  Client::Options options;
  EXPECT_FALSE(Client::Create(options).ok());
  options.config.server = "http://h";
  EXPECT_FALSE(Client::Create(options).ok());
  options.config.server = "https://h";
  options.config.ca_pem = "nothing";
  EXPECT_THAT(std::string(Client::Create(options).status().message()), HasSubstr("PEM"));
  options.config.ca_pem = (*CertificateAuthority::Create("x"))->cert_pem();
  options.max_connections = 0;
  EXPECT_FALSE(Client::Create(options).ok());
}

}  // namespace
}  // namespace slmmesh::kube
