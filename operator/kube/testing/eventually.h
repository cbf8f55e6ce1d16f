// For tests: waits for what another thread brings about, as long as it takes up to a limit that only a bug reaches.
#pragma once

#include <functional>
#include <thread>

#include "common/clock.h"

namespace slmmesh::kube {

inline bool Eventually(const std::function<bool()>& condition) {
  const absl::Time end = Clock::Real().Now() + absl::Seconds(20);
  while (!condition()) {
    if (Clock::Real().Now() > end) return false;
    std::this_thread::yield();
    absl::SleepFor(absl::Milliseconds(1));
  }
  return true;
}

}  // namespace slmmesh::kube
