#include "router/api/prompt_pool.h"

#include <utility>

#include "router/openai/api_error.h"

namespace slmmesh {

PromptPool::PromptPool(uint32_t threads) {
  for (uint32_t i = 0; i < threads; ++i) threads_.emplace_back([this] { Serve(); });
}

PromptPool::~PromptPool() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void PromptPool::Run(Loop* loop, size_t bytes, std::function<void()> work,
                     std::function<void(const absl::Status&)> done) {
  if (bytes < kLongBytes) {
    work();
    return done(absl::OkStatus());
  }
  Job job{loop, std::move(work), std::move(done)};
  if (Enqueue(&job)) return wake_.notify_one();
  job.done(WithRetryAfter(absl::ResourceExhaustedError("too many long prompts wait; try again later"), 1));
}

bool PromptPool::Enqueue(Job* job) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (jobs_.size() >= kMaxJobs) return false;
  jobs_.push_back(std::move(*job));
  return true;
}

void PromptPool::Serve() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return stop_ || !jobs_.empty(); });
    if (stop_) return;
    Job job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    job.work();
    job.work = nullptr;
    // Moved, never copied: what it holds belongs to the loop, which alone may let go of it.
    Loop* const loop = job.loop;
    loop->Post([done = std::move(job.done)] { done(absl::OkStatus()); });
    lock.lock();
  }
}

}  // namespace slmmesh
