// Where workers' outputs find their request: by the handle that the router chose. One loop's thread only.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "slmmesh/v1/worker.pb.h"

namespace slmmesh {

class OutputReceiver {
 public:
  virtual ~OutputReceiver() = default;
  // `now`: when the message that holds it was taken up.
  virtual void OnOutput(const v1::TokenOutput& output, absl::Time now) = 0;
  // The stream to the worker is gone: no output will follow.
  virtual void OnBroken(const absl::Status& status) = 0;
  // Its deadline has passed.
  virtual void OnExpired() = 0;
};

class Inbox {
 public:
  explicit Inbox(uint32_t loop_index) : loop_index_(loop_index) {}

  // A handle that no other request of this process has; its low byte names the loop.
  uint64_t NewHandle() { return (++last_handle_ << 8) | loop_index_; }
  static uint32_t LoopOf(uint64_t handle) { return handle & 0xff; }

  // `session` identifies the stream the request was sent on.
  void Add(uint64_t handle, const void* session, absl::Time deadline, OutputReceiver* receiver);
  void Remove(uint64_t handle);  // later outputs of it are dropped

  // Receivers may add and remove handles while they are called.
  void Deliver(const v1::SessionResponse& message, absl::Time now);
  void Break(const void* session, const absl::Status& status);
  void Expire(absl::Time now);

 private:
  struct Entry {
    const void* session;
    absl::Time deadline;
    OutputReceiver* receiver;
  };
  template <typename Matches, typename Tell>
  void TellAll(Matches matches, Tell tell);

  const uint32_t loop_index_;
  uint64_t last_handle_ = 0;
  absl::flat_hash_map<uint64_t, Entry> entries_;
};

}  // namespace slmmesh
