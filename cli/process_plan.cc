#include "cli/process_plan.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "proto/program_knobs.h"

namespace slmmesh {
namespace {

// Whoever stops a mesh on his own machine waits for it; the supervisor kills what takes longer than twice this.
constexpr uint32_t kLongestDrainSeconds = 5;

std::string Knob(const std::string& name, const std::string& value) { return absl::StrCat("--", name, "=", value); }

// What the manifest's knobs become when all its workers share one machine.
v1::InferenceCluster OnOneMachine(v1::InferenceCluster cluster, const PlanContext& context, int workers) {
  v1::InferenceClusterSpec& spec = *cluster.mutable_spec();
  const std::string& path = spec.model().path();
  if (!absl::StartsWith(path, "/")) spec.mutable_model()->set_path(absl::StrCat(context.manifest_folder, "/", path));
  if (spec.engine().threads() == 0) spec.mutable_engine()->set_threads(std::max(1, context.cores / workers));
  // The knob speaks of the whole machine; a worker divides its own by its group's size.
  spec.set_memory_utilization(spec.memory_utilization() * spec.tensor_parallel_size() / workers);
  spec.mutable_rollout()->set_drain_seconds(std::min(DrainSeconds(spec), kLongestDrainSeconds));
  return cluster;
}

void Append(std::vector<std::string> knobs, std::vector<std::string>* args) {
  std::move(knobs.begin(), knobs.end(), std::back_inserter(*args));
}

std::vector<std::string> CommonArgs(const std::string& program, const std::string& name, const PlanContext& context) {
  return {program, Knob("tls-dir", TlsFolder(context.run_folder, name)), Knob("admin-listen", "127.0.0.1:0"),
          Knob("log-format", "json")};
}

ProcessSpec Head(const v1::InferenceCluster& cluster, const PlanContext& context) {
  ProcessSpec head{"head", Role::kHead, CommonArgs("mesh-head", "head", context)};
  Append(HeadKnobs(cluster), &head.args);
  head.args.push_back(Knob("listen", "127.0.0.1:0"));
  head.args.push_back(Knob("address-file", AddressFile(context.run_folder, "head")));
  return head;
}

ProcessSpec Worker(const std::string& name, const v1::WorkerGroupSpec& group, const v1::InferenceCluster& cluster,
                   const PlanContext& context) {
  ProcessSpec worker{name, Role::kWorker, CommonArgs("mesh-worker", name, context)};
  Append(WorkerKnobs(cluster, group), &worker.args);
  worker.args.push_back(Knob("head", kHeadAddress));
  worker.args.push_back(Knob("listen", "127.0.0.1:0"));
  worker.args.push_back(Knob("exchange-listen", "127.0.0.1:0"));
  worker.args.push_back(Knob("worker-id", name));
  worker.args.push_back(Knob("isa", context.isa));
  return worker;
}

ProcessSpec Router(int index, const v1::InferenceCluster& cluster, const PlanContext& context) {
  const std::string name = absl::StrCat("router-", index);
  // Only one process can take the port; further routers take free ones.
  const uint32_t port = index == 0 ? cluster.spec().router_spec().service().port() : 0;
  ProcessSpec router{name, Role::kRouter, CommonArgs("mesh-router", name, context)};
  Append(RouterKnobs(cluster), &router.args);
  router.args.push_back(Knob("head", kHeadAddress));
  router.args.push_back(Knob("listen", absl::StrCat("127.0.0.1:", port)));
  router.args.push_back(Knob("grpc-listen", "127.0.0.1:0"));
  router.args.push_back(Knob("router-id", name));
  router.args.push_back(Knob("address-file", AddressFile(context.run_folder, name)));
  return router;
}

}  // namespace

std::string AddressFile(const std::string& run_folder, const std::string& process) {
  return absl::StrCat(run_folder, "/addresses/", process);
}

std::string TlsFolder(const std::string& run_folder, const std::string& process) {
  return absl::StrCat(run_folder, "/tls/", process);
}

absl::StatusOr<std::vector<ProcessSpec>> PlanProcesses(const v1::InferenceCluster& manifest,
                                                       const PlanContext& context) {
  RETURN_IF_ERROR(CheckServedByThisVersion(manifest.spec()));
  int workers = 0;
  for (const auto& group : manifest.spec().worker_group_specs()) workers += static_cast<int>(group.replicas());
  const v1::InferenceCluster cluster = OnOneMachine(manifest, context, workers);
  std::vector<ProcessSpec> plan = {Head(cluster, context)};
  for (const auto& group : cluster.spec().worker_group_specs()) {
    for (uint32_t i = 0; i < group.replicas(); ++i) {
      plan.push_back(Worker(absl::StrCat(group.group_name(), "-", i), group, cluster, context));
    }
  }
  for (uint32_t i = 0; i < cluster.spec().router_spec().replicas(); ++i) {
    plan.push_back(Router(static_cast<int>(i), cluster, context));
  }
  return plan;
}

}  // namespace slmmesh
