// The worker's knobs; their names, defaults and help stand in flags.cc.
#pragma once

#include "worker/server/worker_config.h"

namespace slmmesh {

// After ParseFlags. INVALID_ARGUMENT names knob, value and fix.
absl::StatusOr<WorkerConfig> WorkerConfigFromFlags();

}  // namespace slmmesh
