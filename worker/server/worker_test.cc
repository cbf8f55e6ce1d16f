// Whole workers in one process: a tiny random model, a fake head, and routers over the real protocol.
#include "worker/server/worker.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/files.h"
#include "common/temporary_folder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/server/testing/fake_head.h"
#include "worker/server/testing/router_client.h"
#include "worker/server/testing/tiny_model_file.h"

namespace slmmesh {
namespace {

using testing::HasSubstr;

// One folder per role; `also_trusted`: a CA certificate beside the authority's own.
void IssueAll(CertificateAuthority& authority, const std::string& folder, const std::string& also_trusted) {
  for (const Role role : {Role::kHead, Role::kWorker, Role::kRouter}) {
    const std::string own = absl::StrCat(folder, "/", std::string(RoleName(role)));
    const std::string bundle = authority.cert_pem() + also_trusted;
    if (!authority.IssueInto(own, role, "pod", 3600).ok()) abort();
    if (!WriteFileAtomic(TlsFilesIn(own).ca, bundle).ok()) abort();
  }
}

// The certificates of one cluster, made once.
struct ClusterCertificates {
  TemporaryFolder folder;
  std::unique_ptr<CertificateAuthority> authority = CertificateAuthority::Create("test").value();
};
ClusterCertificates& TheCertificates() {
  static ClusterCertificates* const certificates = [] {
    auto* made = new ClusterCertificates;
    IssueAll(*made->authority, made->folder.path(), "");
    return made;
  }();
  return *certificates;
}
TlsFiles Certificates(Role role) { return TlsFilesIn(TheCertificates().folder / std::string(RoleName(role))); }

v1::Submit MakeSubmit(uint64_t handle, uint32_t max_tokens) {
  v1::Submit submit;
  submit.set_handle(handle);
  submit.set_tenant("tenant");
  for (uint32_t token = 3; token < 23; ++token) submit.add_prompt_tokens(token);
  submit.mutable_sampling()->set_temperature(0.8f);
  submit.mutable_sampling()->set_seed(17 + handle);
  submit.mutable_sampling()->set_top_p(1);
  submit.mutable_sampling()->set_repetition_penalty(1);
  submit.mutable_sampling()->set_max_tokens(max_tokens);
  submit.mutable_sampling()->set_ignore_eos(true);
  submit.mutable_sampling()->set_top_logprobs(0);
  return submit;
}

bool HasEnd(const v1::SessionResponse& message) {
  return std::any_of(message.outputs().begin(), message.outputs().end(), [](const v1::TokenOutput& output) {
    return output.finish_reason() != v1::FINISH_REASON_UNSPECIFIED;
  });
}

class WorkerTest : public testing::Test {
 protected:
  WorkerTest() : head_(std::make_unique<FakeHead>(Certificates(Role::kHead), 0)) {
    model_ = folder_ / "tiny.gguf";
    WriteTinyModel(model_);
  }

  WorkerConfig ConfigOf(const std::string& worker_id) const {
    WorkerConfig config;
    config.model = model_;
    config.served_model_name = "tiny";
    config.weights = kernels::WeightType::kFloat32;
    config.kv_cache = kernels::KvType::kFloat32;
    config.max_num_seqs = 4;
    config.max_num_batched_tokens = 32;
    config.memory_utilization = 0.5;
    config.cpu = {1, false, kernels::Isa::kReference};
    config.head = absl::StrCat("127.0.0.1:", head_->port());
    config.advertise_host = "127.0.0.1";
    config.tls = Certificates(Role::kWorker);
    config.cluster = "test";
    config.worker_id = worker_id;
    config.worker_group = "group";
    return config;
  }
  Worker& Start(const WorkerConfig& config) {
    auto worker = Worker::Start(config);
    if (!worker.ok()) ADD_FAILURE() << worker.status();
    return *(workers_[config.worker_id] = *std::move(worker));
  }
  Worker& Start(const std::string& worker_id) { return Start(ConfigOf(worker_id)); }

  // Seats the workers and waits until all serve.
  void Seat(uint64_t epoch, const std::vector<std::string>& worker_ids) {
    head_->Assign("g", epoch, worker_ids);
    for (const std::string& worker_id : worker_ids) head_->AwaitPhase(worker_id, v1::WORKER_PHASE_SERVING, epoch);
  }
  std::unique_ptr<RouterClient> Connect(const std::string& worker_id, uint64_t epoch, Role role = Role::kRouter) {
    return std::make_unique<RouterClient>(Certificates(role), workers_.at(worker_id)->grpc_address(), "g", epoch);
  }
  // The tokens and logprobs of some requests at once, by handle.
  static std::map<uint64_t, std::vector<std::pair<uint32_t, float>>> Generate(RouterClient& router,
                                                                              uint32_t max_tokens) {
    for (uint64_t handle = 1; handle <= 3; ++handle) router.Submit(MakeSubmit(handle, max_tokens));
    int ended = 0;
    v1::SessionResponse message;
    while (ended < 3 && router.ReadUntil(HasEnd, &message)) {
      for (const v1::TokenOutput& output : message.outputs()) {
        ended += output.finish_reason() != v1::FINISH_REASON_UNSPECIFIED;
      }
    }
    std::map<uint64_t, std::vector<std::pair<uint32_t, float>>> tokens;
    for (const v1::TokenOutput& output : router.outputs()) {
      tokens[output.handle()].emplace_back(output.token_id(), output.logprob());
    }
    return tokens;
  }

  TemporaryFolder folder_;
  std::string model_;
  std::unique_ptr<FakeHead> head_;
  std::map<std::string, std::unique_ptr<Worker>> workers_;
};

TEST_F(WorkerTest, OneRankAndTwoRanksGiveTheSameTokens) {
  Start("a");
  Start("b");
  Start("c");
  Seat(1, {"a"});
  const auto of_one = Generate(*Connect("a", 1), 40);
  head_->Assign("h", 5, {"b", "c"});
  for (const char* worker : {"b", "c"}) head_->AwaitPhase(worker, v1::WORKER_PHASE_SERVING, 5);
  RouterClient router(Certificates(Role::kRouter), workers_["b"]->grpc_address(), "h", 5);
  const auto of_two = Generate(router, 40);
  ASSERT_EQ(of_one.size(), 3u);
  for (const auto& [handle, tokens] : of_one) EXPECT_EQ(tokens.size(), 40u) << handle;
  EXPECT_EQ(of_one, of_two);
}

TEST_F(WorkerTest, TwoHostsSpeakOverTcpAndGiveTheSameTokens) {
  Start("a");
  Start("b");
  Seat(1, {"a"});
  const auto of_one = Generate(*Connect("a", 1), 20);
  head_->SetHostId("a", "elsewhere");
  Seat(2, {"a", "b"});
  EXPECT_EQ(Generate(*Connect("a", 2), 20), of_one);
}

TEST_F(WorkerTest, SpeculationGivesTheSameTokens) {
  Start("plain");
  head_->Assign("g", 1, {"plain"});
  head_->AwaitPhase("plain", v1::WORKER_PHASE_SERVING, 1);
  const auto plain = Generate(*Connect("plain", 1), 40);
  for (const auto method : {SpeculationMethod::kNgram, SpeculationMethod::kSelfQuantized, SpeculationMethod::kDraft}) {
    const std::string name = SpeculationMethodName(method);
    SCOPED_TRACE(name);
    for (const char* rank : {"-0", "-1"}) {
      WorkerConfig config = ConfigOf(name + rank);
      config.speculative_method = method;
      if (method == SpeculationMethod::kDraft) config.speculative_model = model_;
      Start(config);
    }
    const std::string group = "group of " + name;
    head_->Assign(group, 1, {name + "-0", name + "-1"});
    for (const char* rank : {"-0", "-1"}) head_->AwaitPhase(name + rank, v1::WORKER_PHASE_SERVING, 1);
    RouterClient router(Certificates(Role::kRouter), workers_[name + "-0"]->grpc_address(), group, 1);
    EXPECT_EQ(Generate(router, 40), plain);
    const std::string metrics = workers_[name + "-0"]->RenderMetrics();
    EXPECT_THAT(metrics, HasSubstr("slmmesh_worker_speculation_tokens_total{kind=\"accepted\",method=\"" + name));
    if (method == SpeculationMethod::kNgram) continue;  // this text hardly repeats itself
    EXPECT_THAT(metrics,
                testing::Not(HasSubstr("vllm:spec_decode_num_accepted_tokens_total{model_name=\"tiny\"} 0\n")));
  }
}

TEST_F(WorkerTest, AMissingDraftIsRefusedAtTheStart) {
  WorkerConfig config = ConfigOf("a");
  config.speculative_method = SpeculationMethod::kDraft;
  config.speculative_model = folder_ / "none.gguf";
  EXPECT_THAT(std::string(Worker::Start(config).status().message()), HasSubstr("--speculative-model"));
}

TEST_F(WorkerTest, ACopyCanComeFromAFileOfItsOwn) {
  Start("plain");
  head_->Assign("g", 1, {"plain"});
  head_->AwaitPhase("plain", v1::WORKER_PHASE_SERVING, 1);
  const auto plain = Generate(*Connect("plain", 1), 40);
  WorkerConfig config = ConfigOf("copy");
  config.speculative_method = SpeculationMethod::kSelfQuantized;
  config.speculative_model = model_;
  Start(config);
  head_->Assign("h", 1, {"copy"});
  head_->AwaitPhase("copy", v1::WORKER_PHASE_SERVING, 1);
  RouterClient router(Certificates(Role::kRouter), workers_["copy"]->grpc_address(), "h", 1);
  EXPECT_EQ(Generate(router, 40), plain);
  WriteTinyModel(config.speculative_model = folder_ / "deeper.gguf", 1);
  EXPECT_THAT(std::string(Worker::Start(config).status().message()), HasSubstr("its num_hidden_layers is"));
}

TEST_F(WorkerTest, ACopyOfAModelInFourBitsIsRefusedAtTheStart) {
  WorkerConfig config = ConfigOf("a");
  config.speculative_method = SpeculationMethod::kSelfQuantized;
  config.weights = *ParseWeights("int4");
  EXPECT_THAT(std::string(Worker::Start(config).status().message()),
              testing::AllOf(HasSubstr("--speculative-method=self-quantized"), HasSubstr("--weights=int4")));
}

// As pods of a cluster with IPv6 alone.
TEST_F(WorkerTest, RanksAndRoutersReachIpv6Addresses) {
  const int probe = socket(AF_INET6, SOCK_STREAM, 0);
  sockaddr_in6 loopback = {};
  loopback.sin6_family = AF_INET6;
  loopback.sin6_addr = in6addr_loopback;
  const bool has_ipv6 = probe >= 0 && bind(probe, reinterpret_cast<sockaddr*>(&loopback), sizeof(loopback)) == 0;
  if (probe >= 0) close(probe);
  if (!has_ipv6) GTEST_SKIP() << "this machine has no ::1";
  for (const char* worker_id : {"a", "b"}) {
    WorkerConfig config = ConfigOf(worker_id);
    config.listen = config.exchange_listen = "[::]:0";
    config.advertise_host = "::1";
    EXPECT_THAT(Start(config).grpc_address(), testing::StartsWith("[::1]:"));
  }
  head_->SetHostId("b", "elsewhere");
  Seat(1, {"a", "b"});
  EXPECT_EQ(Generate(*Connect("a", 1), 5).size(), 3u);
}

TEST_F(WorkerTest, ACancelFreesTheBlocksWithinAStep) {
  Start("a");
  Seat(1, {"a"});
  const auto router = Connect("a", 1);
  v1::SessionResponse message;
  router->Submit(MakeSubmit(1, 100));
  ASSERT_TRUE(router->ReadUntil([](const auto& m) { return m.outputs_size() != 0; }, &message));
  EXPECT_GT(message.load().kv_blocks_used(), 0u);
  router->Cancel(1);
  ASSERT_TRUE(router->ReadUntil(HasEnd, &message));
  EXPECT_EQ(message.outputs(message.outputs_size() - 1).finish_reason(), v1::FINISH_REASON_CANCELLED);
  EXPECT_EQ(message.load().kv_blocks_used(), 0u);
}

TEST_F(WorkerTest, ARouterThatGoesAwayFreesItsBlocks) {
  Start("a");
  Seat(1, {"a"});
  const auto stays = Connect("a", 1);
  v1::SessionResponse message;
  ASSERT_TRUE(stays->ReadUntil([](const auto& m) { return m.has_welcome(); }, &message));
  {
    const auto goes = Connect("a", 1);
    for (uint64_t handle = 1; handle <= 4; ++handle) goes->Submit(MakeSubmit(handle, 100));
    ASSERT_TRUE(stays->ReadUntil([](const auto& m) { return m.load().kv_blocks_used() != 0; }, &message));
  }
  ASSERT_TRUE(stays->ReadUntil([](const auto& m) { return m.has_load() && m.load().running() == 0; }, &message));
  EXPECT_EQ(message.load().kv_blocks_used(), 0u);
}

TEST_F(WorkerTest, ASessionIsForTheLeaderOfThatEpochAndForRouters) {
  Start("a");
  Start("b");
  EXPECT_EQ(Connect("a", 1)->Finish().error_code(), grpc::StatusCode::FAILED_PRECONDITION);  // no seat yet
  Seat(3, {"a", "b"});
  EXPECT_EQ(Connect("a", 2)->Finish().error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(Connect("b", 3)->Finish().error_code(), grpc::StatusCode::FAILED_PRECONDITION);  // rank 1
  EXPECT_EQ(Connect("a", 3, Role::kWorker)->Finish().error_code(), grpc::StatusCode::PERMISSION_DENIED);
}

TEST_F(WorkerTest, WhenAPeerIsGoneClientsHearOfItAndTheHeadToo) {
  Start("a");
  Start("b");
  Seat(1, {"a", "b"});
  const auto router = Connect("a", 1);
  router->Submit(MakeSubmit(1, 100));
  v1::SessionResponse message;
  ASSERT_TRUE(router->ReadUntil([](const auto& m) { return m.outputs_size() != 0; }, &message));
  workers_.erase("b");
  const grpc::Status end = router->Finish();
  EXPECT_EQ(end.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(end.error_message(), HasSubstr("epoch ended"));
  const v1::TokenOutput& last = router->outputs().back();
  if (last.finish_reason() != v1::FINISH_REASON_LENGTH) {  // it was not quicker
    EXPECT_EQ(last.finish_reason(), v1::FINISH_REASON_ERROR);
    EXPECT_EQ(last.error_code(), static_cast<uint32_t>(absl::StatusCode::kUnavailable));
  }
  const v1::WorkerStatus status = head_->AwaitPhase("a", v1::WORKER_PHASE_FAILED, 1);
  EXPECT_NE(status.message(), "");
}

TEST_F(WorkerTest, AReplacementTakesTheSeatAndTheOthersKeepTheirWeights) {
  Worker& a = Start("a");
  Start("b");
  Seat(1, {"a", "b"});
  const auto before = Generate(*Connect("a", 1), 10);
  workers_.erase("b");
  head_->AwaitPhase("a", v1::WORKER_PHASE_FAILED, 1);
  Start("c");
  Seat(2, {"a", "c"});
  EXPECT_EQ(Generate(*Connect("a", 2), 10), before);
  EXPECT_THAT(a.RenderMetrics(), HasSubstr("slmmesh_worker_model_loads_total 1\n"));
  Seat(3, {"c", "a"});  // the other half of the model: read anew
  EXPECT_EQ(Generate(*Connect("c", 3), 10), before);
  EXPECT_THAT(a.RenderMetrics(), HasSubstr("slmmesh_worker_model_loads_total 2\n"));
}

TEST_F(WorkerTest, ANewSeatEndsTheEpochBeforeIt) {
  Start("a");
  Seat(1, {"a"});
  const auto router = Connect("a", 1);
  v1::SessionResponse message;
  ASSERT_TRUE(router->ReadUntil([](const auto& m) { return m.has_load(); }, &message));
  Seat(2, {"a"});
  EXPECT_EQ(router->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Generate(*Connect("a", 2), 5).size(), 3u);
}

TEST_F(WorkerTest, AReleasedSeatIsGivenUp) {
  Start("a");
  Seat(1, {"a"});
  const auto router = Connect("a", 1);
  head_->Release("a", "fewer replicas");
  EXPECT_NE(router->Finish().error_code(), grpc::StatusCode::OK);
  head_->Await("a", [](const auto& status) { return status.phase() == v1::WORKER_PHASE_IDLE && !status.has_seat(); });
}

TEST_F(WorkerTest, LosingTheHeadChangesNothingAndItLearnsTheSeatAnew) {
  Start("a");
  Seat(7, {"a"});
  const auto router = Connect("a", 7);
  const int port = head_->port();
  const uint64_t incarnation = head_->AwaitOffer("a").incarnation();
  head_.reset();
  EXPECT_EQ(Generate(*router, 10).size(), 3u);
  head_ = std::make_unique<FakeHead>(Certificates(Role::kHead), port);
  const v1::Offer offer = head_->AwaitOffer("a");
  EXPECT_EQ(offer.incarnation(), incarnation);
  EXPECT_EQ(offer.seat().group_id(), "g");
  EXPECT_EQ(offer.seat().epoch(), 7u);
  EXPECT_EQ(offer.seat().size(), 1u);
  head_->Assign("g", 7, {"a"});  // the seat it holds: nothing happens
  router->Submit(MakeSubmit(9, 100));
  v1::SessionResponse message;
  EXPECT_TRUE(router->ReadUntil(HasEnd, &message));
  EXPECT_EQ(router->outputs().back().finish_reason(), v1::FINISH_REASON_LENGTH);
}

TEST_F(WorkerTest, TheHeadHearsOfTheLoad) {
  Start("a");
  Seat(1, {"a"});
  const auto status = head_->Await("a", [](const auto& s) { return s.load().kv_blocks_total() != 0; });
  EXPECT_EQ(status.load().kv_blocks_total(), 4u * 128 / 16);  // max_num_seqs sequences of the model's 128 positions
}

TEST_F(WorkerTest, TooLittleMemoryIsAPlainReasonOnAllRanks) {
  WorkerConfig poor = ConfigOf("b");
  poor.memory_utilization = 1e-9;
  Start("a");
  Start(poor);
  head_->Assign("g", 1, {"a", "b"});
  EXPECT_THAT(head_->AwaitPhase("b", v1::WORKER_PHASE_FAILED, 1).message(), HasSubstr("memory-utilization"));
  EXPECT_THAT(head_->AwaitPhase("a", v1::WORKER_PHASE_FAILED, 1).message(), HasSubstr("another rank"));
}

TEST_F(WorkerTest, ABadModelIsRefusedAtTheStart) {
  WorkerConfig config = ConfigOf("a");
  config.model = folder_ / "absent.gguf";
  EXPECT_THAT(std::string(Worker::Start(config).status().message()), HasSubstr("absent.gguf"));
  config = ConfigOf("a");
  config.sha256 = std::string(64, '0');
  EXPECT_FALSE(Worker::Start(config).ok());
  config = ConfigOf("a");
  config.max_model_len = 129;
  EXPECT_THAT(std::string(Worker::Start(config).status().message()), HasSubstr("128"));
}

TEST_F(WorkerTest, DrainingFinishesWhatRunsAndLetsTheOtherRankLeaveInOrder) {
  Worker& a = Start("a");
  Start("b");
  Seat(1, {"a", "b"});
  const auto router = Connect("a", 1);
  router->Submit(MakeSubmit(1, 30));
  v1::SessionResponse message;
  ASSERT_TRUE(router->ReadUntil([](const auto& m) { return m.outputs_size() != 0; }, &message));
  EXPECT_TRUE(a.Drain());
  router->Finish();
  EXPECT_EQ(router->outputs().back().finish_reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(router->outputs().size(), 30u);
  head_->AwaitGone("a");
  head_->Await("b", [](const auto& status) { return status.phase() == v1::WORKER_PHASE_IDLE; });
}

TEST_F(WorkerTest, ARankThatLeavesWaitsUntilRankZeroHasFinished) {
  Start("a");
  WorkerConfig patient = ConfigOf("b");
  patient.drain_timeout = absl::Seconds(60);
  Worker& b = Start(patient);
  Seat(1, {"a", "b"});
  const v1::GroupSeat seat = head_->AwaitPhase("a", v1::WORKER_PHASE_SERVING, 1).seat();
  const auto router = Connect("a", 1);
  router->Submit(MakeSubmit(1, 30));
  v1::SessionResponse message;
  ASSERT_TRUE(router->ReadUntil([](const auto& m) { return m.outputs_size() != 0; }, &message));
  std::thread leaves([&b] { EXPECT_TRUE(b.Drain()); });
  head_->Await("b", [](const auto& status) { return status.leaving(); });
  v1::GroupSeat old = seat;
  old.set_epoch(0);
  head_->Drain("a", old);             // of another epoch: nothing happens
  router->Submit(MakeSubmit(2, 30));  // sent before the router heard of it
  head_->Drain("a", seat);
  router->Finish();
  leaves.join();
  std::map<uint64_t, int> tokens;
  for (const v1::TokenOutput& output : router->outputs()) {
    EXPECT_NE(output.finish_reason(), v1::FINISH_REASON_ERROR) << output.error_message();
    ++tokens[output.handle()];
  }
  EXPECT_EQ(tokens, (std::map<uint64_t, int>{{1, 30}, {2, 30}}));
  head_->AwaitGone("b");
  head_->Await("a", [](const auto& status) { return status.phase() == v1::WORKER_PHASE_IDLE && !status.leaving(); });
}

// A new authority, as after a change of the operator's key: first all trust both, then all show the new one's leaves.
TEST_F(WorkerTest, CertificatesAndAuthorityAreRenewedUnderOpenStreams) {
  Start("a");
  Start("b");
  head_->SetHostId("b", "elsewhere");  // the ranks speak TLS too
  Seat(1, {"a", "b"});
  const auto router = Connect("a", 1);
  router->Submit(MakeSubmit(1, 5));
  v1::SessionResponse message;
  ASSERT_TRUE(router->ReadUntil(HasEnd, &message));
  auto next = CertificateAuthority::Create("test").value();
  const std::string old_ca = TheCertificates().authority->cert_pem();
  IssueAll(*TheCertificates().authority, TheCertificates().folder.path(), next->cert_pem());
  IssueAll(*next, TheCertificates().folder.path(), old_ca);
  TheCertificates().authority = std::move(next);
  // Whoever trusts the new authority alone is let in once the worker has looked at its files.
  TemporaryFolder fresh;
  IssueAll(*TheCertificates().authority, fresh.path(), "");
  grpc::ClientContext context;
  context.set_wait_for_ready(true);
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
  v1::ModelInfo info;
  const auto stub = v1::Worker::NewStub(
      MakeChannel(TlsFilesIn(fresh / "router"), "test", Role::kWorker, workers_["a"]->grpc_address()));
  const grpc::Status status = stub->GetModel(&context, {}, &info);
  EXPECT_TRUE(status.ok()) << status.error_message();
  // Nothing that was open has noticed.
  router->Submit(MakeSubmit(2, 5));
  ASSERT_TRUE(router->ReadUntil(HasEnd, &message));
  EXPECT_EQ(router->outputs().back().finish_reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(head_->joins(), 2);
  head_->AwaitPhase("b", v1::WORKER_PHASE_SERVING, 1);
  // The next epoch's connections are made with the new ones.
  head_->SetHostId("b", "elsewhere");
  Seat(2, {"a", "b"});
  EXPECT_EQ(Generate(*Connect("a", 2), 5).size(), 3u);
}

TEST_F(WorkerTest, OffersItsRevision) {
  WorkerConfig config = ConfigOf("a");
  config.revision = "7";
  Start(config);
  EXPECT_EQ(head_->AwaitOffer("a").revision(), "7");
  EXPECT_FALSE(head_->AwaitOffer("a").leaving());
}

TEST_F(WorkerTest, TellsRoutersOfItsModel) {
  Start("a");
  const auto stub = v1::Worker::NewStub(
      MakeChannel(Certificates(Role::kRouter), "test", Role::kWorker, workers_["a"]->grpc_address()));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
  v1::ModelInfo info;
  const grpc::Status status = stub->GetModel(&context, {}, &info);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(info.served_name(), "tiny");
  EXPECT_EQ(info.architecture(), "llama");
  EXPECT_EQ(info.vocab_size(), 40u);
  EXPECT_EQ(info.max_model_len(), 128u);
  EXPECT_EQ(info.block_size(), 16u);
  EXPECT_NE(info.tokenizer_json(), "");
  EXPECT_NE(info.digest(), "");
  EXPECT_GT(info.created_unix_seconds(), 0);
}

}  // namespace
}  // namespace slmmesh
