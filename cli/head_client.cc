#include "cli/head_client.h"

#include <grpcpp/grpcpp.h>

#include "cli/process_plan.h"
#include "common/tls.h"
#include "slmmesh/v1/head.grpc.pb.h"

namespace slmmesh {

struct HeadClient::State {
  std::unique_ptr<v1::Head::Stub> stub;
};

HeadClient::HeadClient(const std::string& run_folder, const std::string& cluster, const std::string& head_address)
    : state_(std::make_unique<State>()) {
  state_->stub =
      v1::Head::NewStub(MakeChannel(TlsFilesIn(TlsFolder(run_folder, "admin")), cluster, Role::kHead, head_address));
}

HeadClient::~HeadClient() = default;

absl::StatusOr<v1::ClusterTable> HeadClient::GetTable(absl::Duration timeout) {
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
  v1::ClusterTable table;
  const grpc::Status status = state_->stub->GetTable(&context, v1::GetTableRequest(), &table);
  if (status.ok()) return table;
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                      absl::StrCat("the head does not answer: ", status.error_message()));
}

}  // namespace slmmesh
