#include "operator/kube/config.h"

#include <yaml-cpp/yaml.h>

#include <cstdlib>
#include <filesystem>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/files.h"
#include "common/net.h"
#include "common/status.h"
#include "operator/kube/server_url.h"

namespace slmmesh::kube {
namespace {

constexpr size_t kMaxKubeconfigBytes = size_t{1} << 20;
constexpr size_t kMaxNamespaceBytes = 1024;

std::string FromEnvironment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// One entry of clusters, users or contexts, and where it stands: errors name file and field.
struct Section {
  std::string path;  // of the kubeconfig
  std::string field;
  YAML::Node node;

  absl::Status Error(absl::string_view key, absl::string_view reason) const {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", field, key.empty() ? "" : ".", key, ": ", reason));
  }

  bool Has(const std::string& key) const { return node[key] && !node[key].IsNull(); }

  absl::StatusOr<std::string> Text(const std::string& key) const {
    if (!Has(key)) return std::string();
    if (!node[key].IsScalar()) return Error(key, "a text is expected here");
    return node[key].Scalar();
  }

  absl::StatusOr<bool> Flag(const std::string& key) const {
    ASSIGN_OR_RETURN(const std::string text, Text(key));
    if (text.empty() || text == "false") return false;
    if (text == "true") return true;
    return Error(key, absl::StrCat("'", text, "' is neither true nor false"));
  }

  // A file beside the kubeconfig unless its path is absolute.
  absl::StatusOr<std::string> File(const std::string& key) const {
    ASSIGN_OR_RETURN(const std::string text, Text(key));
    if (text.empty()) return std::string();
    return (std::filesystem::path(path).parent_path() / text).string();
  }

  // Base64 of PEM. The value is not repeated in the error: it may be a key.
  absl::StatusOr<std::string> Pem(const std::string& key) const {
    ASSIGN_OR_RETURN(const std::string text, Text(key));
    if (text.empty()) return std::string();
    std::string pem;
    if (!absl::Base64Unescape(text, &pem)) return Error(key, "not base64; encode the PEM file with `base64 -w0`");
    if (!absl::StrContains(pem, "-----BEGIN ")) return Error(key, "holds no PEM once decoded from base64");
    return pem;
  }
};

// The entry called `name` of the list `list` ("clusters"), whose content stands under `key` ("cluster").
absl::StatusOr<Section> FindEntry(const Section& root, const std::string& list, const std::string& key,
                                  const std::string& name) {
  if (!root.Has(list) || !root.node[list].IsSequence()) return root.Error(list, "a list is expected here");
  for (const YAML::Node& entry : root.node[list]) {
    if (!entry.IsMap() || !entry["name"] || !entry["name"].IsScalar() || entry["name"].Scalar() != name) continue;
    Section found{root.path, absl::StrCat(list, "[name=", name, "].", key), entry[key]};
    if (!found.node || !found.node.IsMap()) return found.Error("", "is missing");
    return found;
  }
  return root.Error(list, absl::StrCat("none is called '", name, "'"));
}

absl::Status ReadCluster(const Section& cluster, Config& config) {
  ASSIGN_OR_RETURN(config.server, cluster.Text("server"));
  if (const absl::StatusOr<ServerUrl> url = ParseServerUrl(config.server); !url.ok()) {
    return cluster.Error("server", url.status().message());
  }
  ASSIGN_OR_RETURN(const bool insecure, cluster.Flag("insecure-skip-tls-verify"));
  if (insecure) {
    return cluster.Error("insecure-skip-tls-verify",
                         "refused: anybody on the network could pose as the API server and take the credentials; "
                         "remove it and give certificate-authority-data");
  }
  if (cluster.Has("proxy-url")) return cluster.Error("proxy-url", "proxies are not supported; remove it");
  ASSIGN_OR_RETURN(config.tls_server_name, cluster.Text("tls-server-name"));
  ASSIGN_OR_RETURN(config.ca_pem, cluster.Pem("certificate-authority-data"));
  if (config.ca_pem.empty()) {
    ASSIGN_OR_RETURN(config.ca_file, cluster.File("certificate-authority"));
  }
  return absl::OkStatus();
}

absl::Status RefuseUnsupported(const Section& user) {
  for (const char* plugin : {"exec", "auth-provider"}) {
    if (!user.Has(plugin)) continue;
    return user.Error(plugin,
                      "refused: credential plugins run programs of this machine; "
                      "use a client certificate, a token or a tokenFile");
  }
  for (const char* password : {"username", "password"}) {
    if (user.Has(password)) {
      return user.Error(password, "API servers take no passwords any more; use a client certificate or a token");
    }
  }
  for (const char* other : {"as", "as-uid", "as-groups", "as-user-extra"}) {
    if (user.Has(other)) return user.Error(other, "impersonation is not supported; give that user's own credentials");
  }
  return absl::OkStatus();
}

absl::Status ReadUser(const Section& user, Config& config) {
  RETURN_IF_ERROR(RefuseUnsupported(user));
  ASSIGN_OR_RETURN(config.token, user.Text("token"));
  ASSIGN_OR_RETURN(config.token_file, user.File("tokenFile"));
  ASSIGN_OR_RETURN(config.cert_pem, user.Pem("client-certificate-data"));
  if (config.cert_pem.empty()) {
    ASSIGN_OR_RETURN(config.cert_file, user.File("client-certificate"));
  }
  ASSIGN_OR_RETURN(config.key_pem, user.Pem("client-key-data"));
  if (config.key_pem.empty()) {
    ASSIGN_OR_RETURN(config.key_file, user.File("client-key"));
  }
  const bool has_cert = !config.cert_pem.empty() || !config.cert_file.empty();
  const bool has_key = !config.key_pem.empty() || !config.key_file.empty();
  if (has_cert != has_key) {
    return user.Error(has_cert ? "client-key" : "client-certificate", "is missing: a client certificate needs both");
  }
  return absl::OkStatus();
}

absl::StatusOr<Config> ReadKubeconfig(const Section& root, std::string context_name) {
  if (!root.node.IsMap()) return root.Error("", "this is no kubeconfig: a map is expected");
  if (context_name.empty()) {
    ASSIGN_OR_RETURN(context_name, root.Text("current-context"));
  }
  if (context_name.empty()) return root.Error("current-context", "is missing; set it or name a context");
  ASSIGN_OR_RETURN(const Section context, FindEntry(root, "contexts", "context", context_name));
  ASSIGN_OR_RETURN(const std::string cluster_name, context.Text("cluster"));
  ASSIGN_OR_RETURN(const std::string user_name, context.Text("user"));
  Config config;
  ASSIGN_OR_RETURN(const std::string ns, context.Text("namespace"));
  if (!ns.empty()) config.default_namespace = ns;
  ASSIGN_OR_RETURN(const Section cluster, FindEntry(root, "clusters", "cluster", cluster_name));
  RETURN_IF_ERROR(ReadCluster(cluster, config));
  if (!user_name.empty()) {
    ASSIGN_OR_RETURN(const Section user, FindEntry(root, "users", "user", user_name));
    RETURN_IF_ERROR(ReadUser(user, config));
  }
  return config;
}

}  // namespace

absl::StatusOr<Config> InClusterConfig(const std::string& service_account_folder) {
  const std::string host = FromEnvironment("KUBERNETES_SERVICE_HOST");
  const std::string port = FromEnvironment("KUBERNETES_SERVICE_PORT");
  if (host.empty() || port.empty()) {
    return absl::NotFoundError("not in a pod: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set");
  }
  Config config;
  config.server =
      absl::StrCat("https://", absl::StrContains(host, ":") ? absl::StrCat("[", host, "]") : host, ":", port);
  if (const absl::StatusOr<ServerUrl> url = ParseServerUrl(config.server); !url.ok()) {
    return Annotate(url.status(), "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT");
  }
  config.ca_file = service_account_folder + "/ca.crt";
  config.token_file = service_account_folder + "/token";
  for (const std::string& file : {config.ca_file, config.token_file}) {
    std::error_code error;
    if (!std::filesystem::exists(file, error)) {
      return absl::NotFoundError(absl::StrCat(file, " is not there: does the pod mount its service account's token?"));
    }
  }
  const absl::StatusOr<std::string> ns = ReadFile(service_account_folder + "/namespace", kMaxNamespaceBytes);
  if (ns.ok()) config.default_namespace = std::string(absl::StripAsciiWhitespace(*ns));
  return config;
}

absl::StatusOr<Config> LoadKubeconfig(const std::string& path, const std::string& context) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxKubeconfigBytes));
  try {
    return ReadKubeconfig(Section{path, "kubeconfig", YAML::Load(text)}, context);
  } catch (const YAML::Exception& error) {  // its text may hold a key's bytes: only the place is told
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": line ", error.mark.line + 1, ": this is no valid YAML kubeconfig"));
  }
}

}  // namespace slmmesh::kube
