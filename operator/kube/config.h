// Where the API server is and who we are: from a kubeconfig file, or from inside a pod.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace slmmesh::kube {

// Certificates, keys and tokens are given as files where they are files, so that a rotated one is read again.
struct Config {
  std::string server;  // https://host:port
  std::string ca_pem;  // or ca_file
  std::string ca_file;
  std::string tls_server_name;  // empty: the host of `server`
  std::string cert_pem, key_pem;
  std::string cert_file, key_file;
  std::string token;
  std::string token_file;  // re-read when it changes
  std::string default_namespace = "default";
};

// From KUBERNETES_SERVICE_HOST/PORT and the service account's folder. NOT_FOUND outside a pod.
absl::StatusOr<Config> InClusterConfig(
    const std::string& service_account_folder = "/var/run/secrets/kubernetes.io/serviceaccount");
// `context` empty: the current one. INVALID_ARGUMENT names file and field; exec and auth-provider plugins, http:// and
// insecure-skip-tls-verify are refused with a reason.
absl::StatusOr<Config> LoadKubeconfig(const std::string& path, const std::string& context = "");

}  // namespace slmmesh::kube
