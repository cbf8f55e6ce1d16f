// Mutual TLS of gRPC with a real server and real channels on loopback.
#include <grpcpp/channel.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/auth_context.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <future>

#include "common/files.h"
#include "common/grpc_status.h"
#include "common/temporary_folder.h"
#include "common/tls.h"

namespace slmmesh {
namespace {

constexpr int64_t kHour = 3600;

// Answers every call with the verdict on its caller; ABORTED stands for a welcome, as no transport gives that code.
class VerdictService : public grpc::CallbackGenericService {
 private:
  class Reactor : public grpc::ServerGenericBidiReactor {
   public:
    explicit Reactor(const absl::Status& verdict) {
      Finish(ToGrpcStatus(verdict.ok() ? absl::AbortedError("welcome") : verdict));
    }
    void OnDone() override { delete this; }
  };
  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext* context) override {
    return new Reactor(CheckPeer(*context, "c1", {Role::kWorker, Role::kRouter}));
  }
};

class TlsGrpcTest : public testing::Test {
 protected:
  TlsFiles Issue(CertificateAuthority& authority, Role role, const std::string& pod) {
    const std::string path = folder_ / pod;
    EXPECT_EQ(authority.IssueInto(path, role, pod, kHour), absl::OkStatus());
    return TlsFilesIn(path);
  }

  void StartServer(const TlsFiles& files) {
    server_.reset();
    service_ = std::make_unique<VerdictService>();
    grpc::ServerBuilder builder;
    AddListeningPort(builder, files, "127.0.0.1:0", &port_);
    builder.RegisterCallbackGenericService(service_.get());
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
  }

  std::shared_ptr<grpc::Channel> NewChannel(const TlsFiles& files, Role role = Role::kHead) {
    return MakeChannel(files, "c1", role, "127.0.0.1:" + std::to_string(port_));
  }

  absl::Status Call(const std::shared_ptr<grpc::Channel>& channel, bool wait_for_ready = false) {
    grpc::GenericStub stub(channel);
    grpc::ClientContext context;
    context.set_wait_for_ready(wait_for_ready);
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    const grpc::Slice empty;
    grpc::ByteBuffer request(&empty, 1);
    grpc::ByteBuffer response;
    std::promise<grpc::Status> done;
    stub.UnaryCall(&context, "/test/Verdict", {}, &request, &response,
                   [&done](grpc::Status status) { done.set_value(std::move(status)); });
    return FromGrpcStatus(done.get_future().get());
  }

  TemporaryFolder folder_;
  std::unique_ptr<CertificateAuthority> authority_ = CertificateAuthority::Create("c1").value();
  std::unique_ptr<VerdictService> service_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

TEST_F(TlsGrpcTest, RolesDecideWhoMayCall) {
  StartServer(Issue(*authority_, Role::kHead, "h"));
  EXPECT_EQ(Call(NewChannel(Issue(*authority_, Role::kWorker, "w"))).code(), absl::StatusCode::kAborted);
  EXPECT_EQ(Call(NewChannel(Issue(*authority_, Role::kMonitor, "m"))).message(),
            "the caller's role is 'monitor', only these may call: worker, router");
}

TEST_F(TlsGrpcTest, AnotherClusterMayNotCall) {
  StartServer(Issue(*authority_, Role::kHead, "h"));
  auto other = CertificateAuthority::FromPem("c2", authority_->cert_pem(), authority_->key_pem()).value();
  EXPECT_EQ(Call(NewChannel(Issue(*other, Role::kWorker, "w"))).message(),
            "the caller is of cluster 'c2', this is cluster 'c1'");
}

TEST_F(TlsGrpcTest, AnotherAuthorityIsUnavailable) {
  StartServer(Issue(*authority_, Role::kHead, "h"));
  auto other = CertificateAuthority::Create("c1").value();
  EXPECT_EQ(Call(NewChannel(Issue(*other, Role::kWorker, "w"))).code(), absl::StatusCode::kUnavailable);
}

TEST_F(TlsGrpcTest, ClientRefusesAServerOfAnotherRole) {
  StartServer(Issue(*authority_, Role::kWorker, "h"));
  EXPECT_EQ(Call(NewChannel(Issue(*authority_, Role::kWorker, "w"))).code(), absl::StatusCode::kUnavailable);
}

TEST_F(TlsGrpcTest, ClientWithoutACertificateIsRefused) {
  const TlsFiles head = Issue(*authority_, Role::kHead, "h");
  StartServer(head);
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = authority_->cert_pem();
  grpc::ChannelArguments arguments;
  arguments.SetSslTargetNameOverride(TlsHostName(Role::kHead, "c1"));
  const auto channel =
      grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(port_), grpc::SslCredentials(options), arguments);
  EXPECT_EQ(Call(channel).code(), absl::StatusCode::kUnavailable);
}

TEST_F(TlsGrpcTest, PlaintextIsRefused) {
  StartServer(Issue(*authority_, Role::kHead, "h"));
  const auto channel = grpc::CreateChannel("127.0.0.1:" + std::to_string(port_), grpc::InsecureChannelCredentials());
  EXPECT_EQ(Call(channel).code(), absl::StatusCode::kUnavailable);
}

// The head and the worker move to a new authority while both run: every file is re-read, or no call would succeed.
TEST_F(TlsGrpcTest, RenewedFilesArePickedUpOnBothSides) {
  const TlsFiles head = Issue(*authority_, Role::kHead, "h");
  const TlsFiles worker = Issue(*authority_, Role::kWorker, "w");
  StartServer(head);
  ASSERT_EQ(Call(NewChannel(worker)).code(), absl::StatusCode::kAborted);

  auto next = CertificateAuthority::Create("c1").value();
  Issue(*next, Role::kHead, "h");
  Issue(*next, Role::kWorker, "w");
  const TlsFiles fresh = Issue(*next, Role::kMonitor, "m");  // never watched before: trusts the new authority only
  // Connects again and again until the server has looked at its files.
  EXPECT_EQ(Call(NewChannel(fresh), /*wait_for_ready=*/true).code(), absl::StatusCode::kPermissionDenied);

  StartServer(head);
  EXPECT_EQ(Call(NewChannel(worker), /*wait_for_ready=*/true).code(), absl::StatusCode::kAborted);
}

}  // namespace
}  // namespace slmmesh
