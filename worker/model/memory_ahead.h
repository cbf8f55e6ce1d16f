// Has a buffer's memory ready before it is used. The kernel gives a page when it is first touched, which takes from 0.1
// ms to several ms for a huge one (most in a virtual machine): within a step every stream would wait for it.
#pragma once

#include <cstddef>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "kernels/backend.h"

namespace slmmesh {

// A thread of the lowest priority touches what is near the part in use, between steps as long as that is enough; all of
// it at once would take long, and take memory that may never be wanted.
class MemoryAhead {
 public:
  static constexpr size_t kAheadBytes = size_t{128} << 20;
  static constexpr size_t kUrgentBytes = kAheadBytes / 4;  // what is nearer is touched within steps, too

  // `buffer` is the backend's and must outlive this.
  MemoryAhead(kernels::Backend* backend, void* buffer, size_t bytes);
  ~MemoryAhead();  // waits for the page being touched

  // Lives as long as a step that uses the first `bytes` of the buffer; one at a time. Without `ahead` it does nothing.
  class Step {
   public:
    Step(MemoryAhead* ahead, size_t bytes);
    ~Step();
    Step(const Step&) = delete;
    Step& operator=(const Step&) = delete;

   private:
    MemoryAhead* const ahead_;
  };
  // Until so much of the buffer is ready. For tests.
  void WaitUntilReady(size_t bytes);

 private:
  void Run();
  size_t Wanted() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);  // at this moment

  kernels::Backend* const backend_;
  char* const buffer_;
  const size_t bytes_;
  absl::Mutex mutex_;
  size_t used_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t ready_ ABSL_GUARDED_BY(mutex_) = 0;
  bool is_in_step_ ABSL_GUARDED_BY(mutex_) = false;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace slmmesh
