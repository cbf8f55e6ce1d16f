#include "router/grpc/generate_call.h"

#include <gtest/gtest.h>

#include <memory>

#include "absl/synchronization/notification.h"
#include "common/temporary_folder.h"

namespace slmmesh {
namespace {

// A call between gRPC, whose reactions the test gives it, and a loop, whose dispatcher knows no group: the call waits
// for one.
class GenerateCallTest : public testing::Test {
 protected:
  GenerateCallTest() {
    const auto authority = CertificateAuthority::Create("test").value();
    EXPECT_TRUE(authority->IssueInto(folder_.path(), Role::kRouter, "router", 3600).ok());
    Dispatcher::Options options;
    options.cluster = "test";
    options.head_address = "127.0.0.1:1";  // nobody asks it
    options.tls = TlsFilesIn(folder_.path());
    dispatcher_ = std::make_unique<Dispatcher>(std::move(options), std::vector<Loop*>{loop_.get()}, &router_metrics_);
    context_.dispatcher = dispatcher_.get();
    auto* const call = new GenerateCall(&context_, loop_.get(), {}, absl::InfiniteFuture());
    reactor_ = call;
    call->Begin();
    alive_ = call->weak_from_this();
  }
  ~GenerateCallTest() override { dispatcher_->Stop(); }

  // Until the loop has run what it was given.
  void RunLoop() {
    absl::Notification done;
    loop_->Post([&done] { done.Notify(); });
    loop_->Start();
    done.WaitForNotification();
  }

  void StopLoop() {
    loop_->Stop();
    loop_->Join();
  }

  const TemporaryFolder folder_;
  Metrics metrics_;
  RouterMetrics router_metrics_{&metrics_};
  std::unique_ptr<Loop> loop_ = std::make_unique<Loop>(0);
  std::unique_ptr<Dispatcher> dispatcher_;
  ApiContext context_;
  grpc::ServerWriteReactor<v1::GenerateResponse>* reactor_;
  std::weak_ptr<GenerateCall> alive_;
};

TEST_F(GenerateCallTest, ALoopThatStoppedBeforeItBeganEndsIt) {
  StopLoop();
  reactor_->OnDone();
  loop_ = nullptr;
  EXPECT_TRUE(alive_.expired());
}

TEST_F(GenerateCallTest, ALoopThatStoppedWhileItWaitedEndsIt) {
  RunLoop();
  StopLoop();
  reactor_->OnCancel();
  reactor_->OnDone();
  EXPECT_FALSE(alive_.expired()) << "the loop waits for a group on its behalf";
  loop_ = nullptr;
  EXPECT_TRUE(alive_.expired());
}

}  // namespace
}  // namespace slmmesh
