// mesh-operator: turns InferenceClusters into pods, and keeps them so.
#include <malloc.h>

#include <string>
#include <vector>

#include "common/flags.h"
#include "common/log.h"
#include "common/signals.h"
#include "common/status.h"
#include "operator/flags.h"
#include "operator/mesh_operator.h"

namespace slmmesh {
namespace {

absl::Status Run() {
  ASSIGN_OR_RETURN(MeshOperator::Options options, OperatorOptionsFromFlags());
  const std::string ns = options.ns;
  const std::string identity = options.identity;
  ASSIGN_OR_RETURN(std::unique_ptr<MeshOperator> running, MeshOperator::Start(std::move(options)));
  LogInfo("operator.started", {{"namespace", ns}, {"identity", identity}, {"admin_port", running->admin_port()}});
  const int signal_number = WaitForStopSignal();
  LogInfo("operator.stopping", {{"signal", signal_number}});
  running.reset();
  LogInfo("operator.stopped");
  return absl::OkStatus();
}

}  // namespace
}  // namespace slmmesh

int main(int argc, char** argv) {
  // Many threads, each with little and short-lived memory: an arena for each would hold a multiple of what is in use.
  mallopt(M_ARENA_MAX, 2);
  slmmesh::BlockStopSignals();
  const std::vector<std::string> positional = slmmesh::ParseFlags(
      argc, argv, "mesh-operator", "turns the InferenceClusters of a Kubernetes into pods, and keeps them so.");
  if (!positional.empty()) {
    slmmesh::LogError("operator.bad_arguments", {{"reason", "no arguments besides knobs"}, {"first", positional[0]}});
    return 2;
  }
  const absl::Status status = slmmesh::Run();
  if (status.ok()) return 0;
  slmmesh::LogError("operator.failed", {{"reason", std::string(status.message())}});
  return absl::IsInvalidArgument(status) ? 2 : 1;
}
