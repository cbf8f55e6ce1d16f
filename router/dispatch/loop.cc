#include "router/dispatch/loop.h"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <memory>

#include "absl/time/clock.h"

namespace slmmesh {

Loop::Loop(uint32_t index) : index_(index), inbox_(index), context_(/*concurrency_hint=*/1) {
  EveryTick([this] {
    const absl::Time now = absl::Now();
    wait_list_.Expire(now);
    inbox_.Expire(now);
  });
}

Loop::~Loop() {
  Stop();
  Join();
}

void Loop::Join() {
  if (thread_.joinable()) thread_.join();
}

void Loop::Start() {
  thread_ = std::thread([this] { Run(); });
}

void Loop::Stop() { context_.stop(); }

void Loop::Post(std::function<void()> task) { boost::asio::post(context_, std::move(task)); }

bool Loop::IsCurrent() { return context_.get_executor().running_in_this_thread(); }

void Loop::EveryTick(std::function<void()> task) { tick_tasks_.push_back(std::move(task)); }

void Loop::Run() {
  boost::asio::steady_timer timer(context_);
  std::function<void(const boost::system::error_code&)> on_tick = [&](const boost::system::error_code& error) {
    if (error) return;
    Tick();
    timer.expires_after(std::chrono::milliseconds(kTickMs));
    timer.async_wait(on_tick);
  };
  on_tick({});
  context_.run();
}

void Loop::Tick() {
  for (const auto& task : tick_tasks_) task();
}

}  // namespace slmmesh
