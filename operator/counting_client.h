// A Kubernetes client that counts its calls by verb and resource in the operator's metrics.
#pragma once

#include <memory>

#include "operator/kube/client.h"
#include "operator/operator_metrics.h"

namespace slmmesh {

// Thread-safe. `metrics` outlives it.
std::unique_ptr<kube::Client> MakeCountingClient(std::unique_ptr<kube::Client> client, OperatorMetrics* metrics);

}  // namespace slmmesh
