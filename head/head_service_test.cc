// The head over real gRPC and mutual TLS on loopback.
#include "head/head_service.h"

#include <gmock/gmock.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include "common/grpc_status.h"
#include "common/temporary_folder.h"
#include "head/observers.h"
#include "slmmesh/v1/head.grpc.pb.h"

namespace slmmesh {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::chrono::seconds kDeadline(30);  // only to end a test that hangs

// A worker's side of Join.
class JoinClient {
 public:
  explicit JoinClient(const std::shared_ptr<grpc::Channel>& channel) : stub_(v1::Head::NewStub(channel)) {
    context_.set_deadline(std::chrono::system_clock::now() + kDeadline);
    stream_ = stub_->Join(&context_);
  }
  ~JoinClient() {
    context_.TryCancel();
    if (!ended_) stream_->Finish();
  }

  void Offer(const std::string& worker_id, uint64_t incarnation, const v1::GroupSeat& seat = {}) {
    v1::JoinRequest request;
    v1::Offer& offer = *request.mutable_offer();
    offer.set_worker_id(worker_id);
    offer.set_incarnation(incarnation);
    offer.set_worker_group("pool");
    offer.set_model_key("model");
    offer.set_tensor_parallel_size(2);
    offer.set_endpoint(worker_id + ":1");
    if (!seat.group_id().empty()) *offer.mutable_seat() = seat;
    stream_->Write(request);
  }

  void Say(v1::WorkerPhase phase, const v1::GroupSeat& seat) {
    v1::JoinRequest request;
    request.mutable_status()->set_phase(phase);
    *request.mutable_status()->mutable_seat() = seat;
    stream_->Write(request);
  }

  void SayLoad(const v1::GroupSeat& seat, uint32_t running) {
    v1::JoinRequest request;
    request.mutable_status()->set_phase(v1::WORKER_PHASE_SERVING);
    *request.mutable_status()->mutable_seat() = seat;
    request.mutable_status()->mutable_load()->set_running(running);
    stream_->Write(request);
  }

  v1::JoinResponse Read() {
    v1::JoinResponse response;
    EXPECT_TRUE(stream_->Read(&response));
    return response;
  }

  absl::Status End() {
    v1::JoinResponse response;
    while (stream_->Read(&response)) {
    }
    ended_ = true;
    return FromGrpcStatus(stream_->Finish());
  }

 private:
  std::unique_ptr<v1::Head::Stub> stub_;
  grpc::ClientContext context_;
  bool ended_ = false;
  std::unique_ptr<grpc::ClientReaderWriter<v1::JoinRequest, v1::JoinResponse>> stream_;
};

class WatchClient {
 public:
  explicit WatchClient(const std::shared_ptr<grpc::Channel>& channel) : stub_(v1::Head::NewStub(channel)) {
    context_.set_deadline(std::chrono::system_clock::now() + kDeadline);
    stream_ = stub_->Watch(&context_);
  }
  ~WatchClient() {
    context_.TryCancel();
    if (!ended_) stream_->Finish();
  }

  void Report(const std::string& router_id) {
    v1::RouterReport report;
    report.set_router_id(router_id);
    stream_->Write(report);
  }

  // Reads on until `wanted` holds; versions must grow.
  template <typename Predicate>
  v1::ClusterTable ReadUntil(Predicate wanted) {
    v1::ClusterTable table;
    while (stream_->Read(&table)) {
      EXPECT_GT(table.version(), last_version_);
      last_version_ = table.version();
      if (wanted(table)) return table;
    }
    ADD_FAILURE() << "the stream ended: " << End();
    return table;
  }

  v1::ClusterTable ReadUntilState(v1::GroupState state) {
    return ReadUntil([state](const v1::ClusterTable& table) {
      return table.groups_size() == 1 && table.groups(0).state() == state;
    });
  }

  absl::Status End() {
    v1::ClusterTable table;
    while (stream_->Read(&table)) {
    }
    ended_ = true;
    return FromGrpcStatus(stream_->Finish());
  }

 private:
  std::unique_ptr<v1::Head::Stub> stub_;
  grpc::ClientContext context_;
  bool ended_ = false;
  std::unique_ptr<grpc::ClientReaderWriter<v1::RouterReport, v1::ClusterTable>> stream_;
  uint64_t last_version_ = 0;
};

// The operator's side.
class ObserveClient {
 public:
  explicit ObserveClient(const std::shared_ptr<grpc::Channel>& channel) : stub_(v1::Head::NewStub(channel)) {
    context_.set_deadline(std::chrono::system_clock::now() + kDeadline);
    stream_ = stub_->Observe(&context_, v1::ObserveRequest());
  }
  ~ObserveClient() {
    context_.TryCancel();
    if (!ended_) stream_->Finish();
  }

  template <typename Predicate>
  v1::ClusterTable ReadUntil(Predicate wanted) {
    v1::ClusterTable table;
    while (stream_->Read(&table)) {
      if (wanted(table)) return table;
    }
    ADD_FAILURE() << "the stream ended: " << End();
    return table;
  }

  absl::Status End() {
    v1::ClusterTable table;
    while (stream_->Read(&table)) {
    }
    ended_ = true;
    return FromGrpcStatus(stream_->Finish());
  }

  absl::Status SetDraining(const std::vector<std::string>& worker_ids) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kDeadline);
    v1::SetDrainingRequest request;
    for (const std::string& worker_id : worker_ids) request.add_worker_ids(worker_id);
    v1::SetDrainingResponse response;
    return FromGrpcStatus(stub_->SetDraining(&context, request, &response));
  }

 private:
  std::unique_ptr<v1::Head::Stub> stub_;
  grpc::ClientContext context_;
  bool ended_ = false;
  std::unique_ptr<grpc::ClientReader<v1::ClusterTable>> stream_;
};

class HeadServiceTest : public testing::Test {
 protected:
  HeadServiceTest() { StartHead(absl::ZeroDuration()); }

  void StartHead(absl::Duration restart_grace) {
    server_.reset();
    HeadServer::Options options;
    options.tls = Files(Role::kHead);
    options.cluster = "c1";
    options.membership.head_id = "head-" + std::to_string(++heads_);
    options.membership.restart_grace = restart_grace;
    options.membership.reconnect_grace = absl::ZeroDuration();
    options.membership.lease = absl::Seconds(60);
    options.metrics = &metrics_;
    auto server = HeadServer::Start(options);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  TlsFiles Files(Role role, std::string name = "") {
    if (name.empty()) name = std::string(RoleName(role));
    if (!issued_.insert(name).second) return TlsFilesIn(folder_ / name);
    EXPECT_EQ(authority_->IssueInto(folder_ / name, role, name, 3600), absl::OkStatus());
    return TlsFilesIn(folder_ / name);
  }

  std::shared_ptr<grpc::Channel> Channel(Role role, const std::string& pod = "") {
    return MakeChannel(Files(role, pod), "c1", Role::kHead, "127.0.0.1:" + std::to_string(server_->port()));
  }

  absl::StatusOr<v1::ClusterTable> GetTable(Role role) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kDeadline);
    v1::ClusterTable table;
    const grpc::Status status = v1::Head::NewStub(Channel(role))->GetTable(&context, v1::GetTableRequest(), &table);
    if (!status.ok()) return FromGrpcStatus(status);
    return table;
  }

  // Two workers that serve pool-0; returns their seats by rank.
  std::vector<v1::GroupSeat> Serve(JoinClient& w0, JoinClient& w1) {
    w0.Offer("w0", 10);
    EXPECT_TRUE(w0.Read().has_lease());
    w1.Offer("w1", 11);
    EXPECT_TRUE(w1.Read().has_lease());
    const v1::GroupSeat seat0 = w0.Read().assignment().seat();
    const v1::GroupSeat seat1 = w1.Read().assignment().seat();
    w0.Say(v1::WORKER_PHASE_SERVING, seat0);
    w1.Say(v1::WORKER_PHASE_SERVING, seat1);
    return {seat0, seat1};
  }

  TemporaryFolder folder_;
  std::unique_ptr<CertificateAuthority> authority_ = CertificateAuthority::Create("c1").value();
  std::set<std::string> issued_;
  Metrics metrics_;
  int heads_ = 0;
  std::unique_ptr<HeadServer> server_;
};

TEST_F(HeadServiceTest, WorkersFormAGroupAndRoutersSeeIt) {
  WatchClient router(Channel(Role::kRouter));
  router.Report("r0");
  JoinClient w0(Channel(Role::kWorker, "w0"));
  JoinClient w1(Channel(Role::kWorker, "w1"));
  const std::vector<v1::GroupSeat> seats = Serve(w0, w1);
  EXPECT_EQ(seats[0].rank(), 0u);
  EXPECT_EQ(seats[1].rank(), 1u);
  const v1::ClusterTable table = router.ReadUntilState(v1::GROUP_STATE_READY);
  EXPECT_EQ(table.groups(0).leader_endpoint(), "w0:1");
  EXPECT_THAT(table.groups(0).worker_ids(), ElementsAre("w0", "w1"));
  const absl::StatusOr<v1::ClusterTable> read = GetTable(Role::kAdmin);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->version(), table.version());
  ASSERT_EQ(read->routers_size(), 1);
  EXPECT_EQ(read->routers(0).router_id(), "r0");
  EXPECT_THAT(metrics_.RenderText(), HasSubstr("slmmesh_head_groups{state=\"ready\"} 1\n"));
  EXPECT_THAT(metrics_.RenderText(), HasSubstr("slmmesh_head_members 2\n"));
  EXPECT_THAT(metrics_.RenderText(), HasSubstr("slmmesh_head_joins_total 2\n"));
}

TEST_F(HeadServiceTest, AWorkerThatIsGoneIsReplacedUnderANewEpoch) {
  WatchClient router(Channel(Role::kRouter));
  JoinClient w0(Channel(Role::kWorker, "w0"));
  {
    JoinClient w1(Channel(Role::kWorker, "w1"));
    Serve(w0, w1);
    router.ReadUntilState(v1::GROUP_STATE_READY);
  }  // w1's stream ends
  EXPECT_THAT(router.ReadUntilState(v1::GROUP_STATE_BROKEN).groups(0).worker_ids(), ElementsAre("w0", ""));
  JoinClient spare(Channel(Role::kWorker, "spare"));
  spare.Offer("spare", 12);
  EXPECT_TRUE(spare.Read().has_lease());
  const v1::Assignment assignment = spare.Read().assignment();
  EXPECT_EQ(assignment.seat().rank(), 1u);
  EXPECT_EQ(assignment.seat().epoch(), 2u);
  const v1::Assignment again = w0.Read().assignment();
  EXPECT_EQ(again.seat().rank(), 0u);
  EXPECT_EQ(again.seat().epoch(), 2u);
  EXPECT_EQ(again.peers(1).worker_id(), "spare");
}

TEST_F(HeadServiceTest, ARestartedHeadRebuildsTheTableBeforeItPublishes) {
  JoinClient w0(Channel(Role::kWorker, "w0"));
  JoinClient w1(Channel(Role::kWorker, "w1"));
  const std::vector<v1::GroupSeat> seats = Serve(w0, w1);
  StartHead(absl::Milliseconds(700));
  WatchClient router(Channel(Role::kRouter));
  JoinClient again0(Channel(Role::kWorker, "w0"));
  again0.Offer("w0", 10, seats[0]);
  again0.Say(v1::WORKER_PHASE_SERVING, seats[0]);
  JoinClient again1(Channel(Role::kWorker, "w1"));
  again1.Offer("w1", 11, seats[1]);
  again1.Say(v1::WORKER_PHASE_SERVING, seats[1]);
  const v1::ClusterTable table = router.ReadUntilState(v1::GROUP_STATE_READY);
  EXPECT_EQ(table.head_id(), "head-2");
  EXPECT_EQ(table.groups(0).epoch(), seats[0].epoch());
  EXPECT_TRUE(server_->settled());
}

TEST_F(HeadServiceTest, AnOperatorSeesGroupsRoutersAndLoads) {
  ObserveClient observer(Channel(Role::kOperator));
  observer.ReadUntil([](const v1::ClusterTable& table) { return table.groups_size() == 0; });
  JoinClient w0(Channel(Role::kWorker, "w0"));
  JoinClient w1(Channel(Role::kWorker, "w1"));
  const v1::GroupSeat seat = Serve(w0, w1)[0];
  observer.ReadUntil([](const v1::ClusterTable& table) {
    return table.groups_size() == 1 && table.groups(0).state() == v1::GROUP_STATE_READY;
  });
  WatchClient router(Channel(Role::kRouter));
  router.Report("r0");
  observer.ReadUntil([](const v1::ClusterTable& table) { return table.routers_size() == 1; });
  w0.SayLoad(seat, 7);
  observer.ReadUntil([](const v1::ClusterTable& table) { return table.groups(0).load().running() == 7; });
}

TEST_F(HeadServiceTest, AnOperatorDrainsWorkers) {
  JoinClient w0(Channel(Role::kWorker, "w0"));
  JoinClient w1(Channel(Role::kWorker, "w1"));
  Serve(w0, w1);
  WatchClient router(Channel(Role::kRouter));
  ObserveClient observer(Channel(Role::kOperator));
  ASSERT_EQ(observer.SetDraining({"w1"}), absl::OkStatus());
  const auto drains = [](const v1::ClusterTable& table) {
    return table.groups_size() == 1 && table.groups(0).draining();
  };
  EXPECT_EQ(router.ReadUntil(drains).groups(0).leader_endpoint(), "w0:1");
  observer.ReadUntil(drains);
}

TEST_F(HeadServiceTest, ARestartedHeadShowsNothingBeforeItHasSettled) {
  StartHead(absl::Milliseconds(300));
  JoinClient w0(Channel(Role::kWorker, "w0"));
  w0.Offer("w0", 10);
  w0.Read();
  ObserveClient observer(Channel(Role::kOperator));
  const v1::ClusterTable first = observer.ReadUntil([](const v1::ClusterTable&) { return true; });
  EXPECT_TRUE(server_->settled());
  EXPECT_EQ(first.members_size(), 1);
}

TEST_F(HeadServiceTest, ObserversAreBounded) {
  std::vector<std::unique_ptr<ObserveClient>> observers;
  for (size_t i = 0; i < kMaxObservers; ++i) {
    observers.push_back(std::make_unique<ObserveClient>(Channel(Role::kOperator)));
    observers.back()->ReadUntil([](const v1::ClusterTable&) { return true; });
  }
  EXPECT_EQ(ObserveClient(Channel(Role::kOperator)).End().code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(HeadServiceTest, RolesDecideWhoMayCallWhat) {
  for (Role role : {Role::kRouter, Role::kWorker, Role::kAdmin, Role::kMonitor}) {
    EXPECT_EQ(ObserveClient(Channel(role)).End().code(), absl::StatusCode::kPermissionDenied);
    EXPECT_EQ(ObserveClient(Channel(role)).SetDraining({}).code(), absl::StatusCode::kPermissionDenied);
  }
  EXPECT_EQ(JoinClient(Channel(Role::kRouter)).End().code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(WatchClient(Channel(Role::kWorker)).End().code(), absl::StatusCode::kPermissionDenied);
  for (Role role : {Role::kRouter, Role::kOperator, Role::kAdmin}) EXPECT_TRUE(GetTable(role).ok());
  for (Role role : {Role::kWorker, Role::kMonitor, Role::kHead}) {
    EXPECT_EQ(GetTable(role).status().code(), absl::StatusCode::kPermissionDenied);
  }
}

TEST_F(HeadServiceTest, BadOffersEndTheStreamWithTheReason) {
  JoinClient client(Channel(Role::kWorker, "w0"));
  client.Offer("", 10);
  const absl::Status status = client.End();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "offer.worker_id is empty");
}

TEST_F(HeadServiceTest, NobodyJoinsUnderAnothersName) {
  JoinClient thief(Channel(Role::kWorker, "w1"));
  thief.Offer("w0", 10);
  EXPECT_EQ(thief.End().code(), absl::StatusCode::kPermissionDenied);
}

TEST_F(HeadServiceTest, ASlowRouterGetsTheLatestTable) {
  WatchClient router(Channel(Role::kRouter));
  JoinClient w0(Channel(Role::kWorker, "w0"));
  JoinClient w1(Channel(Role::kWorker, "w1"));
  const v1::GroupSeat seat = Serve(w0, w1)[0];
  for (int i = 0; i < 500; ++i) {
    w0.Say(v1::WORKER_PHASE_LOADING, seat);
    w0.Say(v1::WORKER_PHASE_SERVING, seat);
  }
  WatchClient fast(Channel(Role::kRouter));
  const uint64_t first = fast.ReadUntil([](const v1::ClusterTable&) { return true; }).version();
  w0.Say(v1::WORKER_PHASE_FAILED, v1::GroupSeat());  // of no seat: changes the table, not the group
  const auto is_last = [](const v1::ClusterTable& table) {
    return table.members_size() > 0 && table.members(0).status().phase() == v1::WORKER_PHASE_FAILED;
  };
  EXPECT_GE(fast.ReadUntil(is_last).version(), first);
  router.ReadUntil(is_last);
}

TEST_F(HeadServiceTest, APortInUseIsAnError) {
  HeadServer::Options options;
  options.address = "127.0.0.1:" + std::to_string(server_->port());
  options.tls = Files(Role::kHead);
  options.cluster = "c1";
  EXPECT_EQ(HeadServer::Start(options).status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace slmmesh
