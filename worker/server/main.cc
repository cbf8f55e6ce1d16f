// mesh-worker: one tensor-parallel shard of a model.
#include <cstdio>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "common/files.h"
#include "common/flags.h"
#include "common/log.h"
#include "common/signals.h"
#include "common/status.h"
#include "worker/server/flags.h"
#include "worker/server/worker.h"

namespace slmmesh {
namespace {

absl::Status WriteAddressFile(const std::string& path, const Worker& worker) {
  if (path.empty()) return absl::OkStatus();
  return WriteFileAtomic(path, absl::StrCat("grpc=", worker.grpc_address(), "\nexchange=", worker.exchange_address(),
                                            "\nadmin=", worker.admin_address(), "\n"));
}

absl::Status Run() {
  ASSIGN_OR_RETURN(const WorkerConfig config, WorkerConfigFromFlags());
  ASSIGN_OR_RETURN(const std::unique_ptr<Worker> worker, Worker::Start(config));
  RETURN_IF_ERROR(WriteAddressFile(config.address_file, *worker));
  LogInfo(
      "worker.listening",
      {{"grpc", worker->grpc_address()}, {"exchange", worker->exchange_address()}, {"admin", worker->admin_address()}});
  const int signal = WaitForStopSignal();
  LogInfo("worker.stopping", {{"signal", signal}});
  if (!worker->Drain()) std::_Exit(0);  // weights are still being read: the process need not wait for them
  return absl::OkStatus();
}

}  // namespace
}  // namespace slmmesh

int main(int argc, char** argv) {
  slmmesh::BlockStopSignals();
  slmmesh::ParseFlags(argc, argv, "mesh-worker",
                      "Serves one tensor-parallel shard of a model: dials the head, takes a seat in a group, and as "
                      "rank 0 answers routers.");
  const absl::Status status = slmmesh::Run();
  if (status.ok()) return 0;
  std::fprintf(stderr, "mesh-worker: %s\n", std::string(status.message()).c_str());
  return 1;
}
