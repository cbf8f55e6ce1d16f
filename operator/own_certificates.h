// Certificates that belong to no cluster: the operator's own for its admin pages, and the monitoring identity by which
// Prometheus reads the pages of operator, heads, routers and workers.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/tls.h"
#include "operator/kube/client.h"
#include "operator/master_key.h"

namespace slmmesh {

inline constexpr char kMonitorSecret[] = "slm-mesh-monitor";  // tls.crt, tls.key, ca.crt; in the operator's namespace

// Writes tls.crt, tls.key (of operator.monitoring.slmmesh) and ca.crt (whom the admin pages trust) into `folder`.
absl::Status WriteOwnCertificate(const MasterKey& master, const std::string& folder, const std::string& pod,
                                 absl::Duration lifetime);

// Writes the Secret slm-mesh-monitor where it is missing, of another CA, or past two thirds of `lifetime`: identity
// spiffe://monitoring.slmmesh/monitor/prometheus. Its ca.crt is the operator's.
absl::Status RenewMonitorSecret(kube::Client* client, const std::string& ns, const MasterKey& master,
                                absl::Duration lifetime, absl::Time now);

}  // namespace slmmesh
