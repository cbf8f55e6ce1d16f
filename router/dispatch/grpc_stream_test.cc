// Against gRPC's own server: messages of all sizes both ways, refusals, and servers that are not what they should be.
#include "router/dispatch/grpc_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <future>

#include "common/net.h"
#include "common/temporary_folder.h"
#include "router/dispatch/loop.h"
#include "router/testing/fake_mesh.h"

namespace slmmesh {
namespace {

using ::testing::HasSubstr;

constexpr std::chrono::seconds kPatience(20);  // of a test that is about to fail

class Recorder final : public GrpcStream::Handler {
 public:
  void OnMessage(std::string_view message) override {
    v1::SessionResponse response;
    ASSERT_TRUE(response.ParseFromArray(message.data(), static_cast<int>(message.size())));
    const std::lock_guard<std::mutex> lock(mutex_);
    messages_.push_back(std::move(response));
    arrived_.notify_all();
  }
  void OnClosed(const absl::Status& status) override { closed_.set_value(status); }

  v1::SessionResponse Next() {
    std::unique_lock<std::mutex> lock(mutex_);
    if (!arrived_.wait_for(lock, kPatience, [this] { return !messages_.empty(); })) return {};
    v1::SessionResponse message = std::move(messages_.front());
    messages_.pop_front();
    return message;
  }
  absl::Status End() {
    std::future<absl::Status> end = closed_.get_future();
    return end.wait_for(kPatience) == std::future_status::ready ? end.get() : absl::OkStatus();
  }

 private:
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<v1::SessionResponse> messages_;
  std::promise<absl::Status> closed_;
};

class GrpcStreamTest : public testing::Test {
 protected:
  GrpcStreamTest() {
    const auto authority = CertificateAuthority::Create(kFakeCluster).value();
    for (Role role : {Role::kHead, Role::kRouter, Role::kWorker}) {
      const std::string name(RoleName(role));
      EXPECT_TRUE(authority->IssueInto(folder_ / name, role, name, 3600).ok());
    }
    loop_.Start();
  }
  ~GrpcStreamTest() override {
    loop_.Stop();
    loop_.Join();
    if (stream_ != nullptr) stream_->Abandon();
  }

  TlsFiles Tls(Role role) const { return TlsFilesIn(folder_ / std::string(RoleName(role))); }

  void Open(const std::string& endpoint, Role as = Role::kRouter, const char* method = "/slmmesh.v1.Worker/Session") {
    stream_ = GrpcStream::Open(&loop_, {Tls(as), kFakeCluster, Role::kWorker, endpoint, method}, &recorder_);
    v1::SessionRequest hello;
    hello.mutable_hello()->set_group_id("group-7");
    stream_->Send(hello.SerializeAsString());
  }

  TemporaryFolder folder_;
  Loop loop_{0};
  Recorder recorder_;
  std::shared_ptr<GrpcStream> stream_;
};

TEST_F(GrpcStreamTest, MessagesOfAllSizesPassBothWays) {
  FakeWorker worker(Tls(Role::kWorker), FakeModel());
  Open(worker.address());
  EXPECT_EQ(recorder_.Next().welcome().group_id(), "group-7");
  // More than a frame, than a TLS record, than the windows that both sides begin with.
  for (int size : {0, 1, 16000, 70000, 3000000}) {
    v1::SessionRequest request;
    for (int i = 0; i < size; ++i) request.mutable_submit()->add_prompt_tokens(i % 1000);
    request.mutable_submit()->set_handle(size + 1);
    stream_->Send(request.SerializeAsString());
  }
  for (int size : {0, 1, 16000, 70000, 3000000}) {
    const v1::Submit submit = worker.NextSubmit();
    ASSERT_EQ(submit.handle(), size + 1u);
    ASSERT_EQ(submit.prompt_tokens_size(), size);
    if (size > 1) {
      EXPECT_EQ(submit.prompt_tokens(size - 1), (size - 1) % 1000u);
    }
  }
  for (int size : {0, 1, 16000, 70000, 3000000}) {
    v1::SessionResponse response;
    for (int i = 0; i < size; ++i) response.mutable_block_events()->add_stored(i);
    response.mutable_load()->set_running(size + 1);
    worker.Send(response);
    const v1::SessionResponse got = recorder_.Next();
    ASSERT_EQ(got.load().running(), size + 1u);
    ASSERT_EQ(got.block_events().stored_size(), size);
    if (size > 1) {
      EXPECT_EQ(got.block_events().stored(size - 1), size - 1u);
    }
  }
}

TEST_F(GrpcStreamTest, ManySmallMessagesKeepTheirOrder) {
  FakeWorker worker(Tls(Role::kWorker), FakeModel());
  Open(worker.address());
  for (uint64_t i = 1; i <= 5000; ++i) {
    v1::SessionRequest request;
    request.mutable_cancel()->set_handle(i);
    stream_->Send(request.SerializeAsString());
  }
  for (uint64_t i = 1; i <= 5000; ++i) ASSERT_EQ(worker.Next().cancel().handle(), i);
}

TEST_F(GrpcStreamTest, TheServersStatusIsTheEnd) {
  FakeWorker worker(Tls(Role::kWorker), FakeModel());
  Open(worker.address(), Role::kHead);
  const absl::Status refused = recorder_.End();
  EXPECT_TRUE(absl::IsPermissionDenied(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("head"));
}

TEST_F(GrpcStreamTest, AMethodThatIsNotThereIsSaid) {
  FakeWorker worker(Tls(Role::kWorker), FakeModel());
  Open(worker.address(), Role::kRouter, "/slmmesh.v1.Worker/Other");
  EXPECT_TRUE(absl::IsUnimplemented(recorder_.End()));
}

TEST_F(GrpcStreamTest, AServerOfAnotherRoleIsNotTalkedTo) {
  FakeHead head(Tls(Role::kHead), "127.0.0.1:0", "head-1");
  Open(head.address());
  const absl::Status end = recorder_.End();
  EXPECT_TRUE(absl::IsUnavailable(end)) << end;
  EXPECT_THAT(std::string(end.message()), HasSubstr("certificate"));
}

TEST_F(GrpcStreamTest, ABrokenCallAndAServerThatIsNotThereEnd) {
  std::string address;
  {
    FakeWorker worker(Tls(Role::kWorker), FakeModel());
    address = worker.address();
    Open(address);
    recorder_.Next();
    worker.BreakSessions();
    EXPECT_TRUE(absl::IsCancelled(recorder_.End()));
  }
  Recorder nobody;
  const auto stream = GrpcStream::Open(
      &loop_, {Tls(Role::kRouter), kFakeCluster, Role::kWorker, address, "/slmmesh.v1.Worker/Session"}, &nobody);
  EXPECT_TRUE(absl::IsUnavailable(nobody.End()));
}

TEST_F(GrpcStreamTest, AServerThatFallsSilentIsTakenForDead) {
  boost::asio::io_context context;
  using boost::asio::ip::tcp;
  tcp::acceptor silent(context, tcp::endpoint(boost::asio::ip::address_v4::loopback(), 0));  // the kernel accepts
  stream_ = GrpcStream::Open(
      &loop_,
      {Tls(Role::kRouter), kFakeCluster, Role::kWorker, JoinHostPort("127.0.0.1", silent.local_endpoint().port()),
       "/slmmesh.v1.Worker/Session", std::chrono::milliseconds(20)},
      &recorder_);
  const absl::Status end = recorder_.End();
  EXPECT_TRUE(absl::IsUnavailable(end)) << end;
  EXPECT_THAT(std::string(end.message()), HasSubstr("does not answer"));
}

}  // namespace
}  // namespace slmmesh
