// Kubernetes quantities: 500m, 2, 64Gi, 1e3.
#pragma once

#include <string>

namespace slmmesh {

// Whether the API server reads it as a quantity that is not negative.
bool IsQuantity(const std::string& text);

}  // namespace slmmesh
