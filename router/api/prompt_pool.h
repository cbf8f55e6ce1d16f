// Threads for the text work of long prompts: rendering and tokenizing a megabyte takes most of a second, which the
// other connections of its loop should not wait for. Short texts are done at once, where a change of threads would cost
// more.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "router/dispatch/loop.h"

namespace slmmesh {

// Thread-safe.
class PromptPool {
 public:
  static constexpr size_t kLongBytes = 8 << 10;
  static constexpr size_t kMaxJobs = 64;  // that wait; further ones are refused

  explicit PromptPool(uint32_t threads);
  ~PromptPool();  // after the loops have stopped: what waits is dropped

  // Runs `work` here and now if `bytes` are few, else on a thread of the pool; then `done` on `loop` (the caller's
  // thread), with OK or with RESOURCE_EXHAUSTED where `work` was not taken. `work` may refer to nothing of the loop's.
  void Run(Loop* loop, size_t bytes, std::function<void()> work, std::function<void(const absl::Status&)> done);

 private:
  struct Job {
    Loop* loop;
    std::function<void()> work;
    std::function<void(const absl::Status&)> done;
  };
  bool Enqueue(Job* job);
  void Serve();

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Job> jobs_;
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace slmmesh
