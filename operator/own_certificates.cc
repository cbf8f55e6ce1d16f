#include "operator/own_certificates.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/files.h"
#include "common/status.h"
#include "operator/ca_bundle.h"
#include "operator/cluster_certificates.h"
#include "operator/json_fields.h"
#include "operator/observed.h"

namespace slmmesh {
namespace {

using nlohmann::json;

constexpr char kOperatorPurpose[] = "operator";
constexpr char kMonitorPod[] = "prometheus";

absl::StatusOr<std::unique_ptr<CertificateAuthority>> OperatorAuthority(const MasterKey& master) {
  return master.DeriveAuthority(kOperatorPurpose, kMonitoringCluster);
}

absl::StatusOr<std::unique_ptr<CertificateAuthority>> MonitoringAuthority(const MasterKey& master) {
  return master.DeriveAuthority(kMonitoringCluster, kMonitoringCluster);
}

std::string Field(const json& secret, const char* name) {
  std::string bytes;
  return absl::Base64Unescape(TextOf(FieldOf(secret, "data"), name), &bytes) ? bytes : "";
}

}  // namespace

absl::Status WriteOwnCertificate(const MasterKey& master, const std::string& folder, const std::string& pod,
                                 absl::Duration lifetime) {
  if (mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) {
    return absl::UnavailableError(absl::StrCat(folder, ": cannot create this folder: ", strerror(errno)));
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<CertificateAuthority> authority, OperatorAuthority(master));
  ASSIGN_OR_RETURN(const std::unique_ptr<CertificateAuthority> monitoring, MonitoringAuthority(master));
  ASSIGN_OR_RETURN(const CertificateAuthority::Issued issued,
                   authority->Issue(Role::kOperator, pod, absl::ToInt64Seconds(lifetime)));
  const TlsFiles files = TlsFilesIn(folder);
  RETURN_IF_ERROR(WriteFileAtomic(files.ca, monitoring->cert_pem(), 0644));
  RETURN_IF_ERROR(WriteFileAtomic(files.key, issued.key_pem, 0600));
  return WriteFileAtomic(files.cert, issued.cert_pem, 0644);
}

absl::Status RenewMonitorSecret(kube::Client* client, const std::string& ns, const MasterKey& master,
                                absl::Duration lifetime, absl::Time now) {
  ASSIGN_OR_RETURN(const std::unique_ptr<CertificateAuthority> authority, OperatorAuthority(master));
  ASSIGN_OR_RETURN(const std::unique_ptr<CertificateAuthority> monitoring, MonitoringAuthority(master));
  const kube::ObjectRef ref{kube::resources::kSecrets, ns, kMonitorSecret, ""};
  absl::StatusOr<json> found = client->Get(ref);
  if (!found.ok() && !absl::IsNotFound(found.status())) return found.status();
  if (found.ok() && NotAfter(Field(*found, "tls.crt")) - lifetime / 3 > now &&
      BundleHolds(Field(*found, "ca.crt"), {authority->cert_pem()}, now)) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const CertificateAuthority::Issued issued,
                   monitoring->Issue(Role::kMonitor, kMonitorPod, absl::ToInt64Seconds(lifetime)));
  const json data = {{"tls.crt", absl::Base64Escape(issued.cert_pem)},
                     {"tls.key", absl::Base64Escape(issued.key_pem)},
                     {"ca.crt", absl::Base64Escape(authority->cert_pem())}};
  if (found.ok()) return client->MergePatch(ref, {{"data", data}}).status();
  const json secret = {
      {"apiVersion", "v1"},
      {"kind", "Secret"},
      {"metadata", {{"name", kMonitorSecret}, {"namespace", ns}, {"labels", {{kManagedByLabel, kManagedBy}}}}},
      {"type", "Opaque"},
      {"data", data}};
  return client->Create(ref, secret).status();
}

}  // namespace slmmesh
