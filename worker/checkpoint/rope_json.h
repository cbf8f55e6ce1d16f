// The rotary embedding's settings in config.json: transformers 4 writes `rope_theta` and `rope_scaling`, transformers 5
// writes `rope_parameters`, either flat or one object per layer type.
#pragma once

#include "absl/status/statusor.h"
#include "worker/checkpoint/json_fields.h"
#include "worker/checkpoint/model_config.h"

namespace slmmesh {

absl::StatusOr<RopeConfig> ReadRopeConfig(const JsonFields& fields, int64_t max_positions);

}  // namespace slmmesh
