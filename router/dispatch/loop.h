// One thread with its io_context. A connection, its request and the request's outputs live on one loop from accept to
// the last byte: nothing of them is shared, nothing is locked.
#pragma once

#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <functional>
#include <list>
#include <thread>
#include <vector>

#include "router/dispatch/inbox.h"
#include "router/dispatch/wait_list.h"

namespace slmmesh {

class Loop {
 public:
  explicit Loop(uint32_t index);
  ~Loop();  // stops and joins
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  void Start();
  // Ends the thread after the handler that runs now. What is still queued is destroyed with the loop. Any thread.
  void Stop();
  void Join();
  // Runs `task` on this loop's thread. Any thread.
  void Post(std::function<void()> task);
  bool IsCurrent();  // the caller runs on this loop's thread
  // Calls `task` on this loop's thread every kTickMs, from Start() to Stop(). Before Start() only.
  void EveryTick(std::function<void()> task);
  static constexpr int kTickMs = 50;

  uint32_t index() const { return index_; }
  boost::asio::io_context& context() { return context_; }
  // Loop thread only.
  Inbox& inbox() { return inbox_; }
  WaitList& wait_list() { return wait_list_; }

 private:
  void Run();
  void Tick();

  const uint32_t index_;
  Inbox inbox_;
  WaitList wait_list_;
  std::vector<std::function<void()>> tick_tasks_;
  boost::asio::io_context context_;  // after what its queued handlers refer to: destroyed first
  std::thread thread_;
};

}  // namespace slmmesh
