// mesh-head: who is alive, which workers form which group.
#include <google/protobuf/util/json_util.h>

#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "common/admin_server.h"
#include "common/files.h"
#include "common/flags.h"
#include "common/log.h"
#include "common/net.h"
#include "common/random.h"
#include "common/signals.h"
#include "common/status.h"
#include "head/head_service.h"

ABSL_FLAG(std::string, listen, "127.0.0.1:7070", "host:port for workers, routers and readers (gRPC); port 0: any");
ABSL_FLAG(std::string, admin_listen, "127.0.0.1:7071",
          "host:port for /metrics, /healthz, /readyz, /table; port 0: any");
ABSL_FLAG(std::string, address_file, "", "file that gets the two addresses once both listen; empty: none");
ABSL_FLAG(std::string, tls_dir, "", "folder with tls.crt, tls.key and ca.crt of this process; required");
ABSL_FLAG(std::string, cluster, "",
          "name of the cluster; callers of another one are refused; empty: as in the certificate");
ABSL_FLAG(int, heartbeat_ms, 1000, "workers send a status at least this often");
ABSL_FLAG(int, lease_ms, 5000, "a worker that is silent for longer is considered dead");
ABSL_FLAG(int, reconnect_grace_ms, 500, "a worker whose stream ended is considered dead after this time");
ABSL_FLAG(int, restart_grace_ms, 2000, "after the start, time for workers to say which seats they hold");
ABSL_FLAG(int, replacement_wait_ms, 30000, "a group that lacks a rank for longer may be given up to complete another");

namespace slmmesh {
namespace {

absl::Status CheckFlags() {
  if (absl::GetFlag(FLAGS_tls_dir).empty()) {
    return absl::InvalidArgumentError("--tls-dir: name the folder with tls.crt, tls.key and ca.crt");
  }
  const int heartbeat_ms = absl::GetFlag(FLAGS_heartbeat_ms);
  if (heartbeat_ms < 1 || absl::GetFlag(FLAGS_lease_ms) <= heartbeat_ms) {
    return absl::InvalidArgumentError("--heartbeat-ms, --lease-ms: a heartbeat takes at least 1 ms, a lease longer");
  }
  if (absl::GetFlag(FLAGS_reconnect_grace_ms) < 0 || absl::GetFlag(FLAGS_restart_grace_ms) < 0 ||
      absl::GetFlag(FLAGS_replacement_wait_ms) < 0) {
    return absl::InvalidArgumentError(
        "--reconnect-grace-ms, --restart-grace-ms, --replacement-wait-ms: 0 or more milliseconds");
  }
  return absl::OkStatus();
}

MembershipOptions MembershipOptionsFromFlags() {
  MembershipOptions options;
  options.head_id = RandomHexId();
  options.heartbeat = absl::Milliseconds(absl::GetFlag(FLAGS_heartbeat_ms));
  options.lease = absl::Milliseconds(absl::GetFlag(FLAGS_lease_ms));
  options.reconnect_grace = absl::Milliseconds(absl::GetFlag(FLAGS_reconnect_grace_ms));
  options.restart_grace = absl::Milliseconds(absl::GetFlag(FLAGS_restart_grace_ms));
  options.replacement_wait = absl::Milliseconds(absl::GetFlag(FLAGS_replacement_wait_ms));
  return options;
}

std::string TableAsJson(const v1::ClusterTable& table) {
  google::protobuf::util::JsonPrintOptions options;
  options.always_print_primitive_fields = true;
  std::string json;
  if (!google::protobuf::util::MessageToJsonString(table, &json, options).ok()) return "{}";
  return json;
}

// The address that was asked for, with the port that was given.
absl::StatusOr<std::string> BoundAddress(const std::string& asked, int port) {
  ASSIGN_OR_RETURN(const HostPort address, SplitHostPort(asked));
  return JoinHostPort(address.host, static_cast<uint16_t>(port));
}

absl::Status Run() {
  RETURN_IF_ERROR(CheckFlags());
  Metrics metrics;
  HeadServer::Options head_options;
  head_options.address = absl::GetFlag(FLAGS_listen);
  head_options.tls = TlsFilesIn(absl::GetFlag(FLAGS_tls_dir));
  ASSIGN_OR_RETURN(const Identity identity, ReadIdentity(head_options.tls));
  head_options.cluster = absl::GetFlag(FLAGS_cluster).empty() ? identity.cluster : absl::GetFlag(FLAGS_cluster);
  head_options.membership = MembershipOptionsFromFlags();
  head_options.metrics = &metrics;
  RETURN_IF_ERROR(Annotate(SplitHostPort(head_options.address).status(), "--listen"));
  ASSIGN_OR_RETURN(const std::unique_ptr<HeadServer> head, HeadServer::Start(head_options));

  AdminServer::Options admin_options;
  admin_options.address = absl::GetFlag(FLAGS_admin_listen);
  admin_options.tls = head_options.tls;
  admin_options.cluster = head_options.cluster;
  admin_options.metrics = &metrics;
  admin_options.pages["/table"] = {"application/json", [&head] { return TableAsJson(head->Table()); }};
  ASSIGN_OR_RETURN(const std::unique_ptr<AdminServer> admin, AdminServer::Start(admin_options));

  ASSIGN_OR_RETURN(const std::string grpc_address, BoundAddress(head_options.address, head->port()));
  ASSIGN_OR_RETURN(const std::string admin_address, BoundAddress(admin_options.address, admin->port()));
  LogInfo("head.listening", {{"grpc", grpc_address}, {"admin", admin_address}, {"cluster", head_options.cluster}});
  if (const std::string path = absl::GetFlag(FLAGS_address_file); !path.empty()) {
    RETURN_IF_ERROR(WriteFileAtomic(path, absl::StrCat("grpc=", grpc_address, "\nadmin=", admin_address, "\n")));
  }
  const int signal_number = WaitForStopSignal();
  LogInfo("head.stopping", {{"signal", signal_number}});
  return absl::OkStatus();
}

}  // namespace
}  // namespace slmmesh

int main(int argc, char** argv) {
  slmmesh::BlockStopSignals();
  const std::vector<std::string> positional = slmmesh::ParseFlags(
      argc, argv, "mesh-head", "keeps the membership of one cluster: workers join it, it forms groups, routers watch.");
  if (!positional.empty()) {
    slmmesh::LogError("head.bad_arguments", {{"reason", "no arguments besides knobs"}, {"first", positional[0]}});
    return 2;
  }
  const absl::Status status = slmmesh::Run();
  if (status.ok()) return 0;
  slmmesh::LogError("head.failed", {{"reason", std::string(status.message())}});
  return absl::IsInvalidArgument(status) ? 2 : 1;
}
