// The head's metrics, set from its membership as a whole after each change.
#pragma once

#include "common/metrics.h"
#include "head/membership.h"

namespace slmmesh {

void UpdateHeadMetrics(Metrics& metrics, const Membership& membership);

}  // namespace slmmesh
