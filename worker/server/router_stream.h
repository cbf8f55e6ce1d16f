// One router's Session stream as the engine's loop sees it.
#pragma once

#include "absl/status/status.h"
#include "slmmesh/v1/worker.pb.h"

namespace slmmesh {

// Thread-safe; neither call blocks.
class RouterStream {
 public:
  virtual ~RouterStream() = default;
  // What one step gave this router. Updates that a slow router has not read yet are joined into one message.
  virtual void Push(v1::SessionResponse update) = 0;
  // After what was pushed: the stream ends with `status`.
  virtual void Close(const absl::Status& status) = 0;
};

}  // namespace slmmesh
