#include "router/flags.h"

#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "common/status.h"

ABSL_FLAG(std::string, listen, "127.0.0.1:8080", "host:port of the OpenAI API; port 0 takes a free one");
ABSL_FLAG(std::string, grpc_listen, "127.0.0.1:8081", "host:port of the gRPC service; empty: off");
ABSL_FLAG(std::string, admin_listen, "127.0.0.1:8082", "host:port of /metrics over mutual TLS; empty: off");
ABSL_FLAG(std::string, head, "", "host:port of the head");
ABSL_FLAG(std::string, tls_dir, "", "folder with this router's tls.crt, tls.key and the cluster's ca.crt");
ABSL_FLAG(std::string, cluster, "", "the cluster's name; default: as in the certificate");
ABSL_FLAG(std::string, router_id, "", "this router's name; default: the pod of the certificate");
ABSL_FLAG(std::string, api_keys_file, "",
          "file of tenant:key lines, re-read when it changes; empty: no authentication");
ABSL_FLAG(std::string, tls_cert_file, "", "certificate chain (PEM) shown to clients; empty: plaintext");
ABSL_FLAG(std::string, tls_key_file, "", "private key (PEM) of --tls-cert-file");
ABSL_FLAG(bool, allow_plaintext, false, "serve plaintext on other addresses than loopback");
ABSL_FLAG(uint32_t, max_body_bytes, 16 << 20, "longest request body");
ABSL_FLAG(uint32_t, max_header_bytes, 16 << 10, "longest request header");
ABSL_FLAG(uint32_t, max_connections, 4096, "open client connections");
ABSL_FLAG(uint32_t, max_output_bytes, 16 << 20, "of a stream, not yet read by its client; beyond, it is cut off");
ABSL_FLAG(uint32_t, read_timeout_seconds, 30, "from a request's first byte to its last");
ABSL_FLAG(uint32_t, write_timeout_seconds, 30, "without a client reading anything");
ABSL_FLAG(uint32_t, idle_timeout_seconds, 120, "between two requests of a connection");
ABSL_FLAG(uint32_t, max_prompt_tokens, 0, "longest prompt; 0: the model's context");
ABSL_FLAG(uint32_t, max_n, 128, "choices of one request: n times prompts");
ABSL_FLAG(uint32_t, max_stop, 16, "stop strings of one request");
ABSL_FLAG(uint32_t, max_queue, 2048, "choices without a first token, over all models");
ABSL_FLAG(uint32_t, max_queue_per_model, 1024, "choices without a first token, of one model");
ABSL_FLAG(uint32_t, request_timeout_seconds, 600, "longest time of a request; X-Request-Timeout-Ms may shorten it");
ABSL_FLAG(std::string, served_model_name, "",
          "name of the model that is served here, known also while there is no group: requests for it wait for one; "
          "empty: what workers say");
ABSL_FLAG(uint32_t, wait_for_group_ms, 5000, "how long a request waits for a group to become routable");
ABSL_FLAG(uint32_t, drain_seconds, 5, "how long running answers may take after SIGTERM");
ABSL_FLAG(uint32_t, threads, 0, "event loops; 0: one for two cores, 4 at most");
ABSL_FLAG(std::string, address_file, "", "written when listening: lines http=, grpc=, admin= with host:port");
ABSL_FLAG(uint32_t, default_max_tokens, 0, "where a request gives none; 0: the rest of the context (completions: 16)");
ABSL_FLAG(double, default_temperature, -1, "where a request gives none; -1: the model's own");
ABSL_FLAG(double, default_top_p, -1, "where a request gives none; -1: the model's own");
ABSL_FLAG(int32_t, default_top_k, -1, "where a request gives none; -1: the model's own; 0: off");
ABSL_FLAG(double, default_min_p, -1, "where a request gives none; -1: the model's own");
ABSL_FLAG(double, default_repetition_penalty, -1, "where a request gives none; -1: the model's own");

namespace slmmesh {
namespace {

absl::Status CheckRange(const char* knob, double value, double min, double max) {
  if (value == -1 || (value >= min && value <= max)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--", knob, "=", value, " is out of range; give ", min, " to ", max, ", or leave it out"));
}

absl::StatusOr<SamplingDefaults> DefaultsFromFlags() {
  SamplingDefaults defaults;
  const double temperature = absl::GetFlag(FLAGS_default_temperature), top_p = absl::GetFlag(FLAGS_default_top_p);
  const double min_p = absl::GetFlag(FLAGS_default_min_p), penalty = absl::GetFlag(FLAGS_default_repetition_penalty);
  const int32_t top_k = absl::GetFlag(FLAGS_default_top_k);
  RETURN_IF_ERROR(CheckRange("default-temperature", temperature, 0, 2));
  RETURN_IF_ERROR(CheckRange("default-top-p", top_p, 0.000001, 1));
  RETURN_IF_ERROR(CheckRange("default-top-k", top_k, 0, 1 << 30));
  RETURN_IF_ERROR(CheckRange("default-min-p", min_p, 0, 1));
  RETURN_IF_ERROR(CheckRange("default-repetition-penalty", penalty, 0.01, 100));
  if (temperature != -1) defaults.sampling.set_temperature(static_cast<float>(temperature));
  if (top_p != -1) defaults.sampling.set_top_p(static_cast<float>(top_p));
  if (top_k != -1) defaults.sampling.set_top_k(top_k);
  if (min_p != -1) defaults.sampling.set_min_p(static_cast<float>(min_p));
  if (penalty != -1) defaults.sampling.set_repetition_penalty(static_cast<float>(penalty));
  defaults.max_tokens = absl::GetFlag(FLAGS_default_max_tokens);
  return defaults;
}

HttpLimits HttpLimitsFromFlags() {
  HttpLimits limits;
  limits.max_header_bytes = absl::GetFlag(FLAGS_max_header_bytes);
  limits.max_body_bytes = absl::GetFlag(FLAGS_max_body_bytes);
  limits.max_output_bytes = absl::GetFlag(FLAGS_max_output_bytes);
  limits.max_connections = absl::GetFlag(FLAGS_max_connections);
  limits.read_timeout = absl::Seconds(absl::GetFlag(FLAGS_read_timeout_seconds));
  limits.write_timeout = absl::Seconds(absl::GetFlag(FLAGS_write_timeout_seconds));
  limits.idle_timeout = absl::Seconds(absl::GetFlag(FLAGS_idle_timeout_seconds));
  return limits;
}

absl::Status FillIdentity(RouterOptions* options) {
  if (absl::GetFlag(FLAGS_tls_dir).empty()) return absl::InvalidArgumentError("--tls-dir: missing; give the folder");
  options->tls = TlsFilesIn(absl::GetFlag(FLAGS_tls_dir));
  ASSIGN_OR_RETURN(const Identity identity, ReadIdentity(options->tls));
  options->cluster = absl::GetFlag(FLAGS_cluster).empty() ? identity.cluster : absl::GetFlag(FLAGS_cluster);
  options->router_id = absl::GetFlag(FLAGS_router_id).empty() ? identity.pod : absl::GetFlag(FLAGS_router_id);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<RouterOptions> RouterOptionsFromFlags() {
  RouterOptions options;
  options.listen = absl::GetFlag(FLAGS_listen);
  options.grpc_listen = absl::GetFlag(FLAGS_grpc_listen);
  options.admin_listen = absl::GetFlag(FLAGS_admin_listen);
  options.head_address = absl::GetFlag(FLAGS_head);
  if (options.head_address.empty()) return absl::InvalidArgumentError("--head: missing; give the head's host:port");
  RETURN_IF_ERROR(FillIdentity(&options));
  options.api_keys_file = absl::GetFlag(FLAGS_api_keys_file);
  options.tls_cert_file = absl::GetFlag(FLAGS_tls_cert_file);
  options.tls_key_file = absl::GetFlag(FLAGS_tls_key_file);
  options.allow_plaintext = absl::GetFlag(FLAGS_allow_plaintext);
  options.http = HttpLimitsFromFlags();
  options.request.max_n = absl::GetFlag(FLAGS_max_n);
  options.request.max_stop = absl::GetFlag(FLAGS_max_stop);
  options.request.max_prompt_tokens = absl::GetFlag(FLAGS_max_prompt_tokens);
  options.queue.max_queue = absl::GetFlag(FLAGS_max_queue);
  options.queue.max_queue_per_model = absl::GetFlag(FLAGS_max_queue_per_model);
  options.request_timeout = absl::Seconds(absl::GetFlag(FLAGS_request_timeout_seconds));
  options.wait_for_group = absl::Milliseconds(absl::GetFlag(FLAGS_wait_for_group_ms));
  options.served_model_name = absl::GetFlag(FLAGS_served_model_name);
  options.threads = absl::GetFlag(FLAGS_threads);
  if (options.threads > 64) return absl::InvalidArgumentError("--threads: at most 64");
  ASSIGN_OR_RETURN(options.defaults, DefaultsFromFlags());
  return options;
}

std::string AddressFileFromFlags() { return absl::GetFlag(FLAGS_address_file); }
absl::Duration DrainTimeFromFlags() { return absl::Seconds(absl::GetFlag(FLAGS_drain_seconds)); }

}  // namespace slmmesh
