#include "worker/model/memory_ahead.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>

namespace slmmesh {
namespace {

constexpr size_t kStepBytes = size_t{2} << 20;  // a huge page
constexpr int kLowestPriority = 19;

}  // namespace

MemoryAhead::MemoryAhead(kernels::Backend* backend, void* buffer, size_t bytes)
    : backend_(backend), buffer_(static_cast<char*>(buffer)), bytes_(bytes), thread_([this] { Run(); }) {}

MemoryAhead::~MemoryAhead() {
  {
    const absl::MutexLock lock(&mutex_);
    stop_ = true;
  }
  thread_.join();
}

MemoryAhead::Step::Step(MemoryAhead* ahead, size_t bytes) : ahead_(ahead) {
  if (ahead_ == nullptr) return;
  const absl::MutexLock lock(&ahead_->mutex_);
  ahead_->used_ = std::max(ahead_->used_, bytes);
  ahead_->is_in_step_ = true;
}

MemoryAhead::Step::~Step() {
  if (ahead_ == nullptr) return;
  const absl::MutexLock lock(&ahead_->mutex_);
  ahead_->is_in_step_ = false;
}

void MemoryAhead::WaitUntilReady(size_t bytes) {
  const absl::MutexLock lock(&mutex_);
  const auto is_ready = [this, bytes]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return ready_ >= bytes; };
  mutex_.Await(absl::Condition(&is_ready));
}

size_t MemoryAhead::Wanted() const { return std::min(bytes_, used_ + (is_in_step_ ? kUrgentBytes : kAheadBytes)); }

void MemoryAhead::Run() {
  setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), kLowestPriority);  // a wish
  const auto has_work = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stop_ || ready_ < Wanted(); };
  for (;;) {
    size_t begin = 0;
    {
      const absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(&has_work));
      if (stop_ || ready_ == bytes_) return;
      begin = ready_;
    }
    const size_t count = std::min(kStepBytes, bytes_ - begin);
    backend_->Populate(buffer_ + begin, count);
    const absl::MutexLock lock(&mutex_);
    ready_ += count;
    if (ready_ == bytes_) return;
  }
}

}  // namespace slmmesh
