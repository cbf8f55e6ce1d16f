// absl::Mutex for ThreadSanitizer. Debian's abseil is not instrumented, so TSan would not see what its mutexes order
// and would report every use of them as a race. Linked into each program of a TSan build, these definitions take the
// place of the library's: the same contract on pthread's mutex and condition variable, which TSan knows.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace absl {
ABSL_NAMESPACE_BEGIN
namespace {

struct MutexState {
  std::mutex mutex;
  std::condition_variable changed;  // told at each unlock: a condition may have turned true
};

struct CondVarState {
  std::condition_variable_any signalled;
};

// A constant-initialized object cannot hold these, so they are made at first use.
template <typename State>
State& StateOf(std::atomic<intptr_t>& word) {
  intptr_t value = word.load(std::memory_order_acquire);
  if (value == 0) {
    auto* made = new State;
    if (word.compare_exchange_strong(value, reinterpret_cast<intptr_t>(made), std::memory_order_acq_rel)) return *made;
    delete made;
  }
  return *reinterpret_cast<State*>(value);
}

template <typename State>
void DropState(std::atomic<intptr_t>& word) {
  delete reinterpret_cast<State*>(word.load(std::memory_order_acquire));
}

std::chrono::system_clock::time_point ClockTime(Time deadline) {
  return absl::ToChronoTime(std::min(deadline, absl::Now() + absl::Hours(24 * 365)));
}

}  // namespace

Mutex::~Mutex() { DropState<MutexState>(mu_); }
void Mutex::Lock() { StateOf<MutexState>(mu_).mutex.lock(); }
bool Mutex::TryLock() { return StateOf<MutexState>(mu_).mutex.try_lock(); }
void Mutex::Unlock() {
  MutexState& state = StateOf<MutexState>(mu_);
  state.changed.notify_all();
  state.mutex.unlock();
}
void Mutex::ReaderLock() { Lock(); }
bool Mutex::ReaderTryLock() { return TryLock(); }
void Mutex::ReaderUnlock() { Unlock(); }
void Mutex::AssertHeld() const {}
void Mutex::AssertReaderHeld() const {}
void Mutex::AssertNotHeld() const {}
void Mutex::ForgetDeadlockInfo() {}

bool Mutex::AwaitWithDeadline(const Condition& condition, Time deadline) {
  MutexState& state = StateOf<MutexState>(mu_);
  if (condition.Eval()) return true;
  state.changed.notify_all();  // the wait lets go of the mutex
  std::unique_lock<std::mutex> lock(state.mutex, std::adopt_lock);
  const bool met = state.changed.wait_until(lock, ClockTime(deadline), [&] { return condition.Eval(); });
  lock.release();
  return met;
}
void Mutex::Await(const Condition& condition) {
  while (!AwaitWithDeadline(condition, InfiniteFuture())) {
  }
}
bool Mutex::AwaitWithTimeout(const Condition& condition, Duration timeout) {
  return AwaitWithDeadline(condition, Now() + timeout);
}
void Mutex::LockWhen(const Condition& condition) {
  Lock();
  Await(condition);
}
bool Mutex::LockWhenWithDeadline(const Condition& condition, Time deadline) {
  Lock();
  return AwaitWithDeadline(condition, deadline);
}
bool Mutex::LockWhenWithTimeout(const Condition& condition, Duration timeout) {
  return LockWhenWithDeadline(condition, Now() + timeout);
}
void Mutex::ReaderLockWhen(const Condition& condition) { LockWhen(condition); }
bool Mutex::ReaderLockWhenWithDeadline(const Condition& condition, Time deadline) {
  return LockWhenWithDeadline(condition, deadline);
}
bool Mutex::ReaderLockWhenWithTimeout(const Condition& condition, Duration timeout) {
  return LockWhenWithTimeout(condition, timeout);
}

CondVar::~CondVar() { DropState<CondVarState>(cv_); }
void CondVar::Signal() { StateOf<CondVarState>(cv_).signalled.notify_one(); }
void CondVar::SignalAll() { StateOf<CondVarState>(cv_).signalled.notify_all(); }
bool CondVar::WaitWithDeadline(Mutex* mutex, Time deadline) {
  MutexState& state = StateOf<MutexState>(mutex->mu_);
  state.changed.notify_all();
  return StateOf<CondVarState>(cv_).signalled.wait_until(state.mutex, ClockTime(deadline)) == std::cv_status::timeout;
}
void CondVar::Wait(Mutex* mutex) { WaitWithDeadline(mutex, InfiniteFuture()); }
bool CondVar::WaitWithTimeout(Mutex* mutex, Duration timeout) { return WaitWithDeadline(mutex, Now() + timeout); }

Notification::~Notification() { MutexLock lock(&mutex_); }
void Notification::Notify() {
  MutexLock lock(&mutex_);
  notified_yet_.store(true, std::memory_order_release);
}
bool Notification::WaitForNotificationWithDeadline(Time deadline) const {
  const bool met = mutex_.LockWhenWithDeadline(Condition(&HasBeenNotifiedInternal, &notified_yet_), deadline);
  mutex_.Unlock();
  return met;
}
void Notification::WaitForNotification() const { WaitForNotificationWithDeadline(InfiniteFuture()); }
bool Notification::WaitForNotificationWithTimeout(Duration timeout) const {
  return WaitForNotificationWithDeadline(Now() + timeout);
}

ABSL_NAMESPACE_END
}  // namespace absl
