// mesh-router: clients in front, groups of workers behind.
#include "absl/strings/str_cat.h"
#include "common/files.h"
#include "common/flags.h"
#include "common/log.h"
#include "common/signals.h"
#include "common/status.h"
#include "router/flags.h"
#include "router/router.h"

namespace slmmesh {
namespace {

absl::Status WriteAddressFile(const std::string& path, const Router& router) {
  if (path.empty()) return absl::OkStatus();
  return WriteFileAtomic(path, absl::StrCat("http=", router.http_address(), "\ngrpc=", router.grpc_address(),
                                            "\nadmin=", router.admin_address(), "\n"));
}

absl::Status Run() {
  ASSIGN_OR_RETURN(RouterOptions options, RouterOptionsFromFlags());
  ASSIGN_OR_RETURN(const std::unique_ptr<Router> router, Router::Start(std::move(options)));
  RETURN_IF_ERROR(WriteAddressFile(AddressFileFromFlags(), *router));
  LogInfo("router.listening",
          {{"http", router->http_address()}, {"grpc", router->grpc_address()}, {"admin", router->admin_address()}});
  const int signal = WaitForStopSignal();
  LogInfo("router.stopping", {{"signal", signal}});
  router->Drain(DrainTimeFromFlags());
  return absl::OkStatus();
}

}  // namespace
}  // namespace slmmesh

int main(int argc, char** argv) {
  slmmesh::BlockStopSignals();
  slmmesh::ParseFlags(argc, argv, "mesh-router",
                      "Serves the OpenAI API and the gRPC Inference service over the groups of one cluster.");
  const absl::Status status = slmmesh::Run();
  if (status.ok()) return 0;
  slmmesh::LogError("router.failed", {{"reason", status}});
  return 1;
}
