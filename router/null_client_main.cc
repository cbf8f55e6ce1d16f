// mesh-null-client: requests to a null worker without a router between, over the router's own kind of stream. What the
// router adds is its round trip less this one.
#include <algorithm>
#include <cstdio>
#include <future>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/time/clock.h"
#include "common/flags.h"
#include "common/log.h"
#include "common/signals.h"
#include "common/status.h"
#include "router/dispatch/loop.h"
#include "router/dispatch/worker_session.h"

ABSL_FLAG(std::string, worker, "", "host:port of the null worker's gRPC service");
ABSL_FLAG(std::string, tls_dir, "", "folder with a router's tls.crt, tls.key and the cluster's ca.crt");
ABSL_FLAG(uint32_t, connections, 1, "requests under way at any time");
ABSL_FLAG(uint32_t, prompt_tokens, 20, "of each request");
ABSL_FLAG(absl::Duration, time, absl::Seconds(4), "how long to go on");

namespace slmmesh {
namespace {

// Sends a request for every one that is answered. The loop's thread, once it has begun.
class Client final : public WorkerSession::Listener {
 public:
  void Begin(Loop* loop, GrpcStream::Options worker) {
    session_ = WorkerSession::Open(loop, std::move(worker), v1::SessionHello(), this);
  }
  // Seconds of each answered request, in order; when the time is up.
  absl::StatusOr<std::vector<double>> Wait() { return result_.get_future().get(); }

 private:
  void OnMessage(WorkerSession*, std::shared_ptr<const v1::SessionResponse> message) override {
    if (message->has_welcome()) {
      end_ = absl::Now() + absl::GetFlag(FLAGS_time);
      for (uint32_t i = 0; i < absl::GetFlag(FLAGS_connections); ++i) Send();
    }
    if (message->outputs_size() == 0 || ended_) return;
    const absl::Time now = absl::Now();
    seconds_.push_back(absl::ToDoubleSeconds(now - sent_[message->outputs(0).handle()]));
    if (now < end_) return Send();
    End(std::move(seconds_));
  }

  void OnClosed(WorkerSession*, const absl::Status& status) override { End(status); }

  void Send() {
    v1::Submit submit;
    submit.set_handle(sent_.size());
    submit.mutable_prompt_tokens()->Resize(static_cast<int>(absl::GetFlag(FLAGS_prompt_tokens)), 1);
    submit.mutable_sampling()->set_max_tokens(1 << 16);
    sent_.push_back(absl::Now());
    session_->Submit(std::move(submit));
  }

  void End(absl::StatusOr<std::vector<double>> result) {
    if (std::exchange(ended_, true)) return;
    result_.set_value(std::move(result));
  }

  std::shared_ptr<WorkerSession> session_;
  std::vector<absl::Time> sent_;  // by handle
  std::vector<double> seconds_;
  absl::Time end_;
  bool ended_ = false;
  std::promise<absl::StatusOr<std::vector<double>>> result_;
};

absl::Status Run() {
  GrpcStream::Options worker;
  worker.tls = TlsFilesIn(absl::GetFlag(FLAGS_tls_dir));
  ASSIGN_OR_RETURN(const Identity identity, ReadIdentity(worker.tls));
  worker.cluster = identity.cluster;
  worker.endpoint = absl::GetFlag(FLAGS_worker);
  worker.method = "/slmmesh.v1.Worker/Session";
  Client client;
  Loop loop(0);
  client.Begin(&loop, std::move(worker));
  loop.Start();
  ASSIGN_OR_RETURN(std::vector<double> seconds, client.Wait());
  loop.Stop();
  loop.Join();
  if (seconds.empty()) return absl::UnavailableError("no answer in the time");
  const size_t count = seconds.size();
  std::nth_element(seconds.begin(), seconds.begin() + count / 2, seconds.end());
  std::printf("requests=%zu\nrequests_per_second=%.1f\np50_us=%.1f\n", count,
              static_cast<double>(count) / absl::ToDoubleSeconds(absl::GetFlag(FLAGS_time)), seconds[count / 2] * 1e6);
  return absl::OkStatus();
}

}  // namespace
}  // namespace slmmesh

int main(int argc, char** argv) {
  slmmesh::BlockStopSignals();
  slmmesh::ParseFlags(argc, argv, "mesh-null-client", "Measures a null worker without a router.");
  const absl::Status status = slmmesh::Run();
  if (status.ok()) return 0;
  slmmesh::LogError("null_client.failed", {{"reason", status}});
  return 1;
}
