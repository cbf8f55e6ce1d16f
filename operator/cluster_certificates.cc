#include "operator/cluster_certificates.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/log.h"
#include "common/status.h"
#include "operator/ca_bundle.h"
#include "operator/json_fields.h"
#include "operator/names.h"
#include "operator/objects.h"
#include "operator/projection.h"

namespace slmmesh {
namespace {

using nlohmann::json;

constexpr char kAuthorityField[] = "ca.crt";
constexpr char kOperatorPod[] = "mesh-operator";

kube::ObjectRef SecretRef(const ObservedCluster& cluster) {
  return {kube::resources::kSecrets, cluster.ns, TlsSecretName(cluster), ""};
}

// A certificate that the plan wants renewed is surely renewed: this starts a little earlier than its two thirds.
bool IsFresh(absl::Time not_after, absl::Duration lifetime, absl::Time now) {
  return now < not_after - lifetime / 3 - lifetime / 10;
}

bool IsNumber(absl::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == absl::string_view::npos;
}

// -r<revision>-<slot>, perhaps with a suffix of letters and digits.
bool IsTailOfPodName(absl::string_view tail) {
  if (!absl::ConsumePrefix(&tail, "-r")) return false;
  const size_t dash = tail.find('-');
  if (dash == absl::string_view::npos || !IsNumber(tail.substr(0, dash))) return false;
  tail.remove_prefix(dash + 1);
  const size_t suffix = tail.find('-');
  if (suffix == absl::string_view::npos) return IsNumber(tail);
  return IsNumber(tail.substr(0, suffix)) && tail.find('-', suffix + 1) == absl::string_view::npos;
}

std::string StemOf(const ObservedCluster& cluster, PodRole role) {
  return std::string(absl::StripSuffix(FreePodName(cluster, {role, "", 0, 0}, {}), "-r0-0"));
}

std::string Decoded(const json& data, const std::string& name) {
  std::string bytes;
  return absl::Base64Unescape(TextOf(data, name.c_str()), &bytes) ? bytes : "";
}

std::map<std::string, absl::Time> EndsIn(const json& data) {
  std::map<std::string, absl::Time> ends;
  for (const auto& [name, value] : data.items()) {
    if (name == kAuthorityField || !absl::EndsWith(name, ".crt")) continue;
    ends[std::string(absl::StripSuffix(name, ".crt"))] = NotAfter(Decoded(data, name));
  }
  return ends;
}

}  // namespace

Role RoleOfPodName(const ObservedCluster& cluster, const std::string& pod) {
  for (const auto& [pod_role, role] : {std::pair(PodRole::kHead, Role::kHead), {PodRole::kRouter, Role::kRouter}}) {
    absl::string_view rest = pod;
    if (absl::ConsumePrefix(&rest, StemOf(cluster, pod_role)) && IsTailOfPodName(rest)) return role;
  }
  return Role::kWorker;
}

absl::StatusOr<std::unique_ptr<ClusterCertificates>> ClusterCertificates::Create(kube::Client* client, MasterKey master,
                                                                                 absl::Duration lifetime,
                                                                                 const Clock* clock) {
  ASSIGN_OR_RETURN(const std::unique_ptr<CertificateAuthority> monitoring,
                   master.DeriveAuthority(kMonitoringCluster, kMonitoringCluster));
  return std::unique_ptr<ClusterCertificates>(
      new ClusterCertificates(client, std::move(master), monitoring->cert_pem(), lifetime, clock));
}

absl::StatusOr<std::unique_ptr<CertificateAuthority>> ClusterCertificates::AuthorityOf(
    const ObservedCluster& cluster) const {
  return master_.DeriveAuthority(absl::StrCat("cluster ", cluster.uid), ClusterIdentity(cluster));
}

std::shared_ptr<ClusterCertificates::State> ClusterCertificates::Known(const ObservedCluster& cluster) const {
  const absl::MutexLock lock(&mutex_);
  const auto found = states_.find(ClusterKey(cluster.ns, cluster.name));
  return found == states_.end() || found->second->uid != cluster.uid ? nullptr : found->second;
}

void ClusterCertificates::Remember(const ObservedCluster& cluster, std::shared_ptr<State> state) {
  const absl::MutexLock lock(&mutex_);
  states_[ClusterKey(cluster.ns, cluster.name)] = std::move(state);
}

void ClusterCertificates::Forget(const std::string& key) {
  const absl::MutexLock lock(&mutex_);
  states_.erase(key);
}

ObservedCertificates ClusterCertificates::Observe(const Observed& observed) {
  std::shared_ptr<const State> state = Known(observed.cluster);
  absl::Time earliest;
  std::string ignored;
  const bool issued_before =
      absl::ParseTime(absl::RFC3339_full, observed.cluster.status.certificates_not_after(), &earliest, &ignored);
  if (state == nullptr && !issued_before) return {};
  // The master key is younger than the certificates: whether the CA is still theirs, only the Secret tells.
  if (state == nullptr && earliest - lifetime_ < master_.created()) {
    if (absl::StatusOr<std::shared_ptr<State>> loaded = Load(observed.cluster); loaded.ok()) {
      Remember(observed.cluster, *loaded);
      state = *std::move(loaded);
    }
  }
  ObservedCertificates result;
  if (state != nullptr) {
    result.exists = state->exists;
    result.ca_is_current = state->ca_is_current;
    result.not_after.assign(state->not_after.begin(), state->not_after.end());
    return result;
  }
  // A pod is made after its certificate, so each that is here has one.
  result.exists = true;
  for (const ObservedPod& pod : observed.pods) result.not_after.emplace_back(pod.name, earliest);
  return result;
}

absl::StatusOr<std::shared_ptr<ClusterCertificates::State>> ClusterCertificates::Load(
    const ObservedCluster& cluster) const {
  auto state = std::make_shared<State>();
  state->uid = cluster.uid;
  absl::StatusOr<json> secret = client_->Get(SecretRef(cluster));
  if (absl::IsNotFound(secret.status())) return state;
  if (!secret.ok()) return secret.status();
  if (ControllerUid(*secret) != cluster.uid) {
    return absl::FailedPreconditionError(
        absl::StrCat("Secret ", TlsSecretName(cluster), " belongs to something else; delete or rename that"));
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<CertificateAuthority> authority, AuthorityOf(cluster));
  const json& data = FieldOf(*secret, "data");
  state->exists = true;
  state->bundle = Decoded(data, kAuthorityField);
  state->ca_is_current = BundleHolds(state->bundle, {authority->cert_pem(), monitoring_ca_}, clock_.Now());
  state->not_after = EndsIn(data);
  return state;
}

absl::Status ClusterCertificates::Issue(const ObservedCluster& cluster, const std::vector<std::string>& pods) {
  std::shared_ptr<State> state = Known(cluster);
  if (state == nullptr && !cluster.status.certificates_not_after().empty()) {
    ASSIGN_OR_RETURN(state, Load(cluster));
  }
  if (state == nullptr || !state->exists) {
    const absl::Status created = CreateSecret(cluster, pods);
    if (!absl::IsAlreadyExists(created)) return created;
    ASSIGN_OR_RETURN(state, Load(cluster));
  }
  const absl::Status patched = PatchSecret(cluster, *state, pods);
  if (absl::IsNotFound(patched)) Forget(ClusterKey(cluster.ns, cluster.name));  // deleted by somebody: made anew next
  return patched;
}

absl::Status ClusterCertificates::CreateSecret(const ObservedCluster& cluster, const std::vector<std::string>& pods) {
  ASSIGN_OR_RETURN(const std::unique_ptr<CertificateAuthority> authority, AuthorityOf(cluster));
  auto state = std::make_shared<State>();
  state->uid = cluster.uid;
  state->exists = true;
  json data = {{kAuthorityField, absl::Base64Escape(authority->cert_pem() + monitoring_ca_)}};
  const absl::Time now = clock_.Now();
  for (const std::string& pod : pods) {
    ASSIGN_OR_RETURN(const CertificateAuthority::Issued issued,
                     authority->Issue(RoleOfPodName(cluster, pod), pod, absl::ToInt64Seconds(lifetime_)));
    data[pod + ".crt"] = absl::Base64Escape(issued.cert_pem);
    data[pod + ".key"] = absl::Base64Escape(issued.key_pem);
    state->not_after[pod] = now + lifetime_;
  }
  const json secret = {{"apiVersion", "v1"},
                       {"kind", "Secret"},
                       {"metadata", ObjectMetadata(cluster, TlsSecretName(cluster))},
                       {"type", "Opaque"},
                       {"data", std::move(data)}};
  RETURN_IF_ERROR(client_->Create(SecretRef(cluster), secret).status());
  Remember(cluster, std::move(state));
  return absl::OkStatus();
}

absl::Status ClusterCertificates::PatchSecret(const ObservedCluster& cluster, const State& state,
                                              const std::vector<std::string>& pods) {
  ASSIGN_OR_RETURN(const std::unique_ptr<CertificateAuthority> authority, AuthorityOf(cluster));
  const absl::Time now = clock_.Now();
  auto next = std::make_shared<State>();
  next->uid = cluster.uid;
  next->exists = true;
  next->bundle = state.bundle;
  json data = json::object();
  if (!state.ca_is_current) {
    next->bundle = MakeBundle({authority->cert_pem(), monitoring_ca_}, state.bundle, now);
    data[kAuthorityField] = absl::Base64Escape(next->bundle);
    LogInfo("certificates.ca_changed", {{"cluster", ClusterKey(cluster.ns, cluster.name)}});
  }
  for (const std::string& pod : pods) {
    const auto held = state.not_after.find(pod);
    if (held != state.not_after.end() && state.ca_is_current && IsFresh(held->second, lifetime_, now)) {
      next->not_after[pod] = held->second;
      continue;
    }
    ASSIGN_OR_RETURN(const CertificateAuthority::Issued issued,
                     authority->Issue(RoleOfPodName(cluster, pod), pod, absl::ToInt64Seconds(lifetime_)));
    data[pod + ".crt"] = absl::Base64Escape(issued.cert_pem);
    data[pod + ".key"] = absl::Base64Escape(issued.key_pem);
    next->not_after[pod] = now + lifetime_;
  }
  for (const auto& [pod, end] : state.not_after) {
    if (next->not_after.count(pod) == 0) data[pod + ".crt"] = data[pod + ".key"] = nullptr;
  }
  if (!data.empty()) {
    RETURN_IF_ERROR(client_->MergePatch(SecretRef(cluster), {{"data", std::move(data)}}).status());
  }
  Remember(cluster, std::move(next));
  return absl::OkStatus();
}

absl::StatusOr<ClientPems> ClusterCertificates::IssueForOperator(const ObservedCluster& cluster) const {
  ASSIGN_OR_RETURN(const std::unique_ptr<CertificateAuthority> authority, AuthorityOf(cluster));
  ASSIGN_OR_RETURN(CertificateAuthority::Issued issued,
                   authority->Issue(Role::kOperator, kOperatorPod, absl::ToInt64Seconds(lifetime_)));
  const std::shared_ptr<const State> state = Known(cluster);
  return ClientPems{std::move(issued.cert_pem), std::move(issued.key_pem),
                    state == nullptr ? authority->cert_pem() : absl::StrCat(authority->cert_pem(), state->bundle)};
}

}  // namespace slmmesh
