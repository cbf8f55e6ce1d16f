// What routers and the head are told of the model that this worker has.
#pragma once

#include <string>

#include "slmmesh/v1/worker.pb.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/server/worker_config.h"

namespace slmmesh {

v1::ModelInfo DescribeModel(const WorkerConfig& config, const Checkpoint& checkpoint, int64_t created_unix_seconds);

// Only workers with equal keys form a group: the name, the files, and all that changes a token or a block.
// `draft`: null where the configuration has no draft model.
std::string ModelKey(const WorkerConfig& config, const Checkpoint& checkpoint, const Checkpoint* draft);

}  // namespace slmmesh
