#include "operator/table_watcher.h"

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <set>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "slmmesh/v1/head.grpc.pb.h"

namespace slmmesh {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(30);

// A head that says what it is told to, on loopback with a certificate of its own cluster.
class FakeHead : public v1::Head::Service {
 public:
  explicit FakeHead(CertificateAuthority* ca) {
    const CertificateAuthority::Issued issued = *ca->Issue(Role::kHead, "head", 3600);
    grpc::SslServerCredentialsOptions options(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
    options.pem_root_certs = ca->cert_pem();
    options.pem_key_cert_pairs.push_back({issued.key_pem, issued.cert_pem});
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::SslServerCredentials(options), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~FakeHead() override {
    {
      const absl::MutexLock lock(&mutex_);
      stopping_ = true;
    }
    server_->Shutdown(std::chrono::system_clock::now());
  }

  grpc::Status Observe(grpc::ServerContext* context, const v1::ObserveRequest*,
                       grpc::ServerWriter<v1::ClusterTable>* writer) override {
    const absl::MutexLock lock(&mutex_);
    uint64_t sent = 0;
    while (!stopping_ && !break_streams_ && !context->IsCancelled()) {
      if (sent != table_.version()) {
        sent = table_.version();
        writer->Write(table_);
      }
      changed_.WaitWithTimeout(&mutex_, absl::Milliseconds(20));
    }
    break_streams_ = false;
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "the head ends");
  }
  grpc::Status SetDraining(grpc::ServerContext*, const v1::SetDrainingRequest* request,
                           v1::SetDrainingResponse*) override {
    const absl::MutexLock lock(&mutex_);
    drained_.emplace_back(request->worker_ids().begin(), request->worker_ids().end());
    return grpc::Status::OK;
  }

  void Say(const std::string& head_id, float load, const std::string& group = "g") {
    const absl::MutexLock lock(&mutex_);
    table_.set_version(table_.version() + 1);
    table_.set_head_id(head_id);
    table_.clear_groups();
    v1::Group* said = table_.add_groups();
    said->set_group_id(group);
    said->mutable_load()->set_decode_tokens_per_second(load);
    changed_.SignalAll();
  }
  void BreakStream() {
    const absl::MutexLock lock(&mutex_);
    break_streams_ = true;
    changed_.SignalAll();
  }
  // Waits until that many lists were said; the last one.
  std::vector<std::string> Drained(size_t count) {
    const absl::MutexLock lock(&mutex_);
    const auto enough = [this, count]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return drained_.size() >= count; };
    mutex_.AwaitWithTimeout(absl::Condition(&enough), kPatience);
    EXPECT_EQ(drained_.size(), count);
    return drained_.empty() ? std::vector<std::string>() : drained_.back();
  }
  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }

 private:
  absl::Mutex mutex_;
  absl::CondVar changed_;
  v1::ClusterTable table_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::vector<std::string>> drained_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool break_streams_ ABSL_GUARDED_BY(mutex_) = false;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

class TableWatcherTest : public testing::Test {
 protected:
  explicit TableWatcherTest(absl::Duration load_interval = absl::Hours(1))
      : ca_(*CertificateAuthority::Create("demo.team")), head_(ca_.get()) {
    TableWatcher::Options options;
    options.shortest_retry = absl::Milliseconds(1);
    options.load_interval = load_interval;
    options.on_change = [this](const std::string&) {
      const absl::MutexLock lock(&mutex_);
      ++changes_;
    };
    watcher_ = std::make_unique<TableWatcher>(options);
  }

  void Follow(const std::string& identity = "demo.team") {
    watcher_->Follow("team/demo", {head_.address(), identity, "u1"}, [this]() -> absl::StatusOr<ClientPems> {
      const CertificateAuthority::Issued issued = *ca_->Issue(Role::kOperator, "operator", 3600);
      return ClientPems{issued.cert_pem, issued.key_pem, ca_->cert_pem()};
    });
  }
  // Waits for the change after which `good` holds of the table.
  template <typename Condition>
  bool Await(Condition good) {
    const absl::Time deadline = absl::Now() + kPatience;
    const absl::MutexLock lock(&mutex_);
    while (absl::Now() < deadline) {
      if (good(watcher_->Table("team/demo"))) return true;
      const int before = changes_;
      const auto changed = [this, before]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return changes_ != before; };
      mutex_.AwaitWithTimeout(absl::Condition(&changed), absl::Milliseconds(50));
    }
    return false;
  }
  int Changes() {
    const absl::MutexLock lock(&mutex_);
    return changes_;
  }

  absl::Mutex mutex_;
  int changes_ ABSL_GUARDED_BY(mutex_) = 0;
  std::unique_ptr<CertificateAuthority> ca_;
  FakeHead head_;
  std::unique_ptr<TableWatcher> watcher_;
};

TEST_F(TableWatcherTest, TablesComeAndLoadsAloneWakeNobody) {
  head_.Say("h1", 0.1f);
  Follow();
  Follow();  // the same: no second stream
  EXPECT_EQ(watcher_->streams(), 1u);
  ASSERT_TRUE(Await([](const auto& table) { return table != nullptr; }));
  const int changes = Changes();
  head_.Say("h1", 0.9f);
  ASSERT_TRUE(Await([](const auto& table) { return table->groups(0).load().decode_tokens_per_second() > 0.5f; }));
  EXPECT_EQ(Changes(), changes);
  head_.Say("h1", 0.9f, "another");
  ASSERT_TRUE(Await([](const auto& table) { return table->groups(0).group_id() == "another"; }));
  EXPECT_EQ(Changes(), changes + 1);
}

TEST_F(TableWatcherTest, ARequestThatWaitsWhereNoGroupIsWakesAtOnce) {
  v1::ClusterTable idle, waiting;
  idle.add_routers()->set_router_id("r");
  waiting.add_routers()->set_router_id("r");
  waiting.mutable_routers(0)->set_queued_requests(3);
  EXPECT_FALSE(SameButLoads(idle, waiting));
  idle.add_groups();
  waiting.add_groups();
  EXPECT_TRUE(SameButLoads(idle, waiting));
}

class ImpatientTableWatcherTest : public TableWatcherTest {
 protected:
  ImpatientTableWatcherTest() : TableWatcherTest(absl::Milliseconds(100)) {}
};

TEST_F(ImpatientTableWatcherTest, TheLastOfSeveralLoadsIsHeardOf) {
  head_.Say("h1", 0.1f);
  Follow();
  ASSERT_TRUE(Await([](const auto& table) { return table != nullptr; }));
  const int changes = Changes();
  head_.Say("h1", 0.9f);
  ASSERT_TRUE(Await([this, changes](const auto& table) {
    mutex_.AssertHeld();
    return table->groups(0).load().decode_tokens_per_second() > 0.5f && changes_ > changes;
  }));
}

TEST_F(TableWatcherTest, ABrokenStreamIsOpenedAgain) {
  head_.Say("h1", 0.1f);
  Follow();
  ASSERT_TRUE(Await([](const auto& table) { return table != nullptr; }));
  const int changes = Changes();
  head_.BreakStream();
  // Once that it is gone, once that there is one again.
  ASSERT_TRUE(Await([this, changes](const auto& table) {
    mutex_.AssertHeld();
    return table != nullptr && changes_ >= changes + 2;
  }));
}

TEST_F(TableWatcherTest, DrainingIsSaidOnceAndAgainToARestartedHead) {
  EXPECT_EQ(watcher_->SetDraining("team/demo", {"w1"}).code(), absl::StatusCode::kUnavailable);
  head_.Say("h1", 0.1f);
  Follow();
  ASSERT_TRUE(Await([](const auto& table) { return table != nullptr; }));
  ASSERT_TRUE(watcher_->SetDraining("team/demo", {"w1"}).ok());
  ASSERT_TRUE(watcher_->SetDraining("team/demo", {"w1"}).ok());
  EXPECT_EQ(head_.Drained(1), std::vector<std::string>{"w1"});
  head_.Say("h2", 0.1f);
  EXPECT_EQ(head_.Drained(2), std::vector<std::string>{"w1"});
  ASSERT_TRUE(watcher_->SetDraining("team/demo", {}).ok());
  EXPECT_EQ(head_.Drained(3), std::vector<std::string>{});
}

TEST_F(TableWatcherTest, AHeadOfAnotherClusterIsNotBelieved) {
  head_.Say("h1", 0.1f);
  Follow("other.team");
  EXPECT_EQ(watcher_->Table("team/demo"), nullptr);
  watcher_->Forget("team/demo");
  EXPECT_EQ(watcher_->streams(), 0u);
  Follow();
  EXPECT_TRUE(Await([](const auto& table) { return table != nullptr; }));
}

}  // namespace
}  // namespace slmmesh
