// The whole router between real clients and a scripted head and worker, over real TLS.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "common/temporary_folder.h"
#include "router/router.h"
#include "router/testing/byte_tokenizer.h"
#include "router/testing/fake_mesh.h"
#include "router/testing/http_client.h"

namespace slmmesh {

inline constexpr char kChat[] = R"({"model":"fake","messages":[{"role":"user","content":"Hi"}],"max_tokens":8})";
inline constexpr char kChatStream[] =
    R"({"model":"fake","messages":[{"role":"user","content":"Hi"}],"max_tokens":8,"stream":true})";
inline constexpr char kPrompt[] = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n";

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

  static inline TemporaryFolder* folder_ = nullptr;
  std::unique_ptr<FakeHead> head_;
  std::unique_ptr<FakeWorker> worker_;
  std::unique_ptr<Router> router_;
};

// The prompt that a worker was sent, as text.
inline std::string TextOf(const v1::Submit& submit) {
  std::string text;
  for (uint32_t token : submit.prompt_tokens()) {
    text += token == kImStart ? "<|im_start|>"
            : token == kImEnd ? "<|im_end|>"
                              : std::string(1, static_cast<char>(token));
  }
  return text;
}

}  // namespace slmmesh
