#include "common/clock.h"

#include <chrono>

namespace slmmesh {
namespace {

// Wall time at start plus the steady clock since: never goes back.
class SteadyClock : public Clock {
 public:
  absl::Time Now() const override {
    return start_ + absl::FromChrono(std::chrono::steady_clock::now() - steady_start_);
  }

 private:
  absl::Time start_ = absl::Now();
  std::chrono::steady_clock::time_point steady_start_ = std::chrono::steady_clock::now();
};

}  // namespace

const Clock& Clock::Real() {
  static const SteadyClock clock;
  return clock;
}

}  // namespace slmmesh
