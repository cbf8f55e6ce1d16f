// Keys that wait for work: each key once, never worked on by two threads at a time, failures retried with growing
// delays. The shape of client-go's workqueue. Thread-safe.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "common/clock.h"

namespace slmmesh::kube {

class WorkQueue {
 public:
  struct Options {
    absl::Duration shortest_retry = absl::Milliseconds(5);
    absl::Duration longest_retry = absl::Seconds(60);
    const Clock* clock = nullptr;  // null: the real one
  };
  static std::unique_ptr<WorkQueue> Create(Options options);
  virtual ~WorkQueue() = default;

  virtual void Add(const std::string& key) = 0;  // now; while being worked on: once more after
  virtual void AddAfter(const std::string& key, absl::Duration delay) = 0;  // the earliest of several counts
  virtual void AddRateLimited(const std::string& key) = 0;                  // after a failure: 5 ms, 10 ms, … 60 s
  virtual void Forget(const std::string& key) = 0;  // it succeeded: the next failure starts at 5 ms

  virtual std::optional<std::string> Get() = 0;   // blocks; nullopt after ShutDown
  virtual void Done(const std::string& key) = 0;  // after each Get
  virtual void ShutDown() = 0;                    // Get returns nullopt once what is in work is done

  virtual size_t size() const = 0;
  virtual absl::Duration oldest_wait() const = 0;
};

}  // namespace slmmesh::kube
