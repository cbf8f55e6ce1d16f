#include "operator/flags.h"

#include <stdlib.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/net.h"
#include "common/random.h"
#include "common/status.h"

ABSL_FLAG(std::string, kubeconfig, "", "file that says where the API server is; empty: this pod's service account");
ABSL_FLAG(std::string, namespace, "", "the operator's own, for its Lease and Secrets; empty: the pod's");
ABSL_FLAG(std::string, watch_namespaces, "", "namespaces whose InferenceClusters it serves, with commas; empty: all");
ABSL_FLAG(std::string, pod_name, "", "this operator's name among its replicas; empty: the host name and a random part");
ABSL_FLAG(int, threads, 16, "clusters worked on at a time");
ABSL_FLAG(bool, leader_elect, true, "act only while holding the Lease slm-mesh-operator");
ABSL_FLAG(bool, adopt_rayclusters, false,
          "turn RayClusters (ray.io/v1) with the label slmmesh.io/adopt=true into InferenceClusters");
ABSL_FLAG(std::string, head_image, "slm-mesh-head:latest", "image of heads whose template names none");
ABSL_FLAG(std::string, router_image, "slm-mesh-router:latest", "image of routers whose template names none");
ABSL_FLAG(std::string, worker_image, "slm-mesh-worker:latest", "image of workers whose template names none");
ABSL_FLAG(std::string, image_pull_policy, "IfNotPresent", "of those images: Always, IfNotPresent or Never");
ABSL_FLAG(int, certificate_hours, 24, "lifetime of the pods' certificates; they are renewed after two thirds");
ABSL_FLAG(std::string, admin_listen, "127.0.0.1:8443",
          "host:port for /metrics, /healthz, /readyz (HTTPS); port 0: any");
ABSL_FLAG(std::string, tls_dir, "", "folder that gets the operator's own certificate; empty: a new one in $TMPDIR");

namespace slmmesh {
namespace {

constexpr char kVersion[] = "0.1.0";

absl::StatusOr<std::string> TlsFolder() {
  if (std::string folder = absl::GetFlag(FLAGS_tls_dir); !folder.empty()) return folder;
  const char* const place = getenv("TMPDIR");
  std::string name = absl::StrCat(place == nullptr ? "/tmp" : place, "/mesh-operator-XXXXXX");
  if (mkdtemp(name.data()) != nullptr) return name;
  return absl::InvalidArgumentError(
      absl::StrCat("--tls-dir: cannot create ", name, " (", strerror(errno), "); name a folder that can be written"));
}

std::string PodName() {
  if (std::string name = absl::GetFlag(FLAGS_pod_name); !name.empty()) return name;
  char host[256] = "operator";
  gethostname(host, sizeof host - 1);
  return absl::StrCat(host, "-", RandomHexId(4));
}

absl::Status CheckFlags() {
  const int threads = absl::GetFlag(FLAGS_threads);
  if (threads < 1 || threads > 256) return absl::InvalidArgumentError("--threads: write 1 to 256");
  const int hours = absl::GetFlag(FLAGS_certificate_hours);
  if (hours < 1 || hours > 24 * 365) return absl::InvalidArgumentError("--certificate-hours: write 1 to 8760");
  const std::string policy = absl::GetFlag(FLAGS_image_pull_policy);
  if (policy != "Always" && policy != "IfNotPresent" && policy != "Never") {
    return absl::InvalidArgumentError("--image-pull-policy: write Always, IfNotPresent or Never");
  }
  return Annotate(SplitHostPort(absl::GetFlag(FLAGS_admin_listen)).status(), "--admin-listen");
}

}  // namespace

absl::StatusOr<MeshOperator::Options> OperatorOptionsFromFlags() {
  RETURN_IF_ERROR(CheckFlags());
  MeshOperator::Options options;
  const std::string kubeconfig = absl::GetFlag(FLAGS_kubeconfig);
  ASSIGN_OR_RETURN(options.config, kubeconfig.empty() ? kube::InClusterConfig() : kube::LoadKubeconfig(kubeconfig));
  options.ns = absl::GetFlag(FLAGS_namespace);
  if (options.ns.empty()) options.ns = options.config.default_namespace;
  options.watch_namespaces = absl::StrSplit(absl::GetFlag(FLAGS_watch_namespaces), ',', absl::SkipWhitespace());
  options.identity = PodName();
  options.leader_elect = absl::GetFlag(FLAGS_leader_elect);
  options.adopt_rayclusters = absl::GetFlag(FLAGS_adopt_rayclusters);
  options.threads = absl::GetFlag(FLAGS_threads);
  options.settings.version = kVersion;
  options.settings.head_image = absl::GetFlag(FLAGS_head_image);
  options.settings.router_image = absl::GetFlag(FLAGS_router_image);
  options.settings.worker_image = absl::GetFlag(FLAGS_worker_image);
  options.settings.image_pull_policy = absl::GetFlag(FLAGS_image_pull_policy);
  options.settings.certificate_lifetime = absl::Hours(absl::GetFlag(FLAGS_certificate_hours));
  options.admin_listen = absl::GetFlag(FLAGS_admin_listen);
  ASSIGN_OR_RETURN(options.tls_folder, TlsFolder());
  return options;
}

}  // namespace slmmesh
