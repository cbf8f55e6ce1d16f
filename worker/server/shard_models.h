// What a rank runs: its shard of the model that is served, and of the one that guesses for it.
#pragma once

#include "worker/model/model.h"

namespace slmmesh {

struct ShardModels {
  Model* target = nullptr;
  Model* draft = nullptr;  // null: no speculation by a model
};

}  // namespace slmmesh
