// Requests that wait for a group to become routable. One loop's thread only. Bounded by its callers (Dispatcher).
#pragma once

#include <functional>
#include <list>

#include "absl/time/time.h"

namespace slmmesh {

class WaitList {
 public:
  // Answers true when the request waits no longer: it went on, was refused, or its client is gone. Called at each
  // change of the routable groups, and with `expired` set when the deadline has passed (its answer is then ignored).
  using Attempt = std::function<bool(bool expired)>;

  void Add(absl::Time deadline, Attempt attempt) { waiting_.push_back({deadline, std::move(attempt)}); }

  void Retry() {
    waiting_.remove_if([](Waiting& waiting) { return waiting.attempt(false); });
  }

  void Expire(absl::Time now) {
    waiting_.remove_if([now](Waiting& waiting) {
      if (waiting.deadline > now) return false;
      waiting.attempt(true);
      return true;
    });
  }

 private:
  struct Waiting {
    absl::Time deadline;
    Attempt attempt;
  };
  std::list<Waiting> waiting_;
};

}  // namespace slmmesh
