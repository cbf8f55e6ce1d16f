// What routers ask of the engine's thread, in order.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>

#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "slmmesh/v1/worker.pb.h"
#include "worker/server/router_stream.h"

namespace slmmesh {

struct Command {
  enum class Kind { kAttach, kSubmit, kCancel, kDetach, kDrain };
  Kind kind;
  std::shared_ptr<RouterStream> stream;  // all but kDrain
  v1::Submit submit;                     // kSubmit
  uint64_t handle = 0;                   // kCancel
};

// Thread-safe and bounded.
class Mailbox {
 public:
  // False when it is full or closed. The end of a stream, or of the worker, always fits: there is one of each.
  bool Post(Command command);
  // All commands, after waiting for the first at most until `deadline`.
  std::deque<Command> Take(absl::Time deadline);
  // Ends waits; nothing is posted any more. The first reason stays.
  void Close(const absl::Status& reason);
  // OK while it is open.
  absl::Status closed() const;

 private:
  static constexpr size_t kMaxCommands = 16384;

  mutable absl::Mutex mutex_;
  std::deque<Command> commands_ ABSL_GUARDED_BY(mutex_);
  bool is_closed_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status reason_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace slmmesh
