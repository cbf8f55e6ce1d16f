#include "worker/collective/local_communicator.h"

#include <algorithm>
#include <atomic>

namespace slmmesh {
namespace {

class LocalCommunicator : public Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  absl::Status AllReduceSum(absl::Span<float>, uint32_t) override { return State(); }
  absl::Status Broadcast(std::string*, absl::Duration) override { return State(); }
  absl::Status GatherToRoot(absl::Span<const float> local, absl::Span<const size_t>, float* out) override {
    std::copy(local.begin(), local.end(), out);
    return State();
  }
  void Abort(const std::string&) override { aborted_ = true; }

 private:
  absl::Status State() const {
    return aborted_ ? absl::UnavailableError("the group's epoch was ended here") : absl::OkStatus();
  }
  std::atomic<bool> aborted_ = false;
};

}  // namespace

std::unique_ptr<Communicator> CreateLocalCommunicator() { return std::make_unique<LocalCommunicator>(); }

}  // namespace slmmesh
