// The whole router in one object: main() starts one, tests start several.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/tls.h"
#include "router/dispatch/admission.h"
#include "router/http/http_message.h"
#include "router/openai/sampling_options.h"

namespace slmmesh {

struct RouterOptions {
  std::string listen = "127.0.0.1:8080";
  std::string grpc_listen = "127.0.0.1:0";   // empty: off
  std::string admin_listen = "127.0.0.1:0";  // empty: off
  std::string head_address;
  std::string cluster;
  std::string router_id;
  TlsFiles tls;
  std::string api_keys_file;
  std::string tls_cert_file, tls_key_file;
  bool allow_plaintext = false;
  HttpLimits http;
  RequestLimits request;
  QueueLimits queue;
  SamplingDefaults defaults;
  absl::Duration request_timeout = absl::Seconds(600);
  absl::Duration wait_for_group = absl::Seconds(5);
  std::string served_model_name;  // known before the first worker; empty: what workers say
  uint32_t threads = 0;           // 0: one for two cores, 4 at most
};

// Thread-safe.
class Router {
 public:
  static absl::StatusOr<std::unique_ptr<Router>> Start(RouterOptions options);
  virtual ~Router() = default;  // stops at once
  virtual std::string http_address() const = 0;
  virtual std::string grpc_address() const = 0;   // empty: off
  virtual std::string admin_address() const = 0;  // empty: off
  // Says no to /readyz, accepts nothing more, and returns when the last answer is out or `limit` has passed.
  virtual void Drain(absl::Duration limit) = 0;
};

}  // namespace slmmesh
