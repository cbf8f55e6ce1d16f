// Ranks as threads of one process, for tests: sums by the documented halving, waits without deadlines.
#pragma once

#include <barrier>
#include <memory>
#include <string>
#include <vector>

#include "worker/collective/communicator.h"

namespace slmmesh {

class ThreadGroup {
 public:
  explicit ThreadGroup(int size);
  ~ThreadGroup();
  Communicator& communicator(int rank);  // used by one thread

 private:
  class Rank;
  std::barrier<> barrier_;
  std::vector<const float*> published_;  // by rank, between two barriers
  std::vector<std::unique_ptr<Rank>> ranks_;
};

}  // namespace slmmesh
