#include "worker/server/timed_communicator.h"

#include <chrono>

namespace slmmesh {
namespace {

class TimedCommunicator : public Communicator {
 public:
  TimedCommunicator(std::unique_ptr<Communicator> inner, prometheus::Histogram* seconds)
      : inner_(std::move(inner)), seconds_(seconds) {}

  int rank() const override { return inner_->rank(); }
  int size() const override { return inner_->size(); }
  absl::Status AllReduceSum(absl::Span<float> data, uint32_t contributors) override {
    const auto start = std::chrono::steady_clock::now();
    absl::Status status = inner_->AllReduceSum(data, contributors);
    seconds_->Observe(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    return status;
  }
  absl::Status Broadcast(std::string* bytes, absl::Duration timeout) override {
    return inner_->Broadcast(bytes, timeout);
  }
  absl::Status GatherToRoot(absl::Span<const float> local, absl::Span<const size_t> counts, float* out) override {
    return inner_->GatherToRoot(local, counts, out);
  }
  void Abort(const std::string& reason) override { inner_->Abort(reason); }

 private:
  const std::unique_ptr<Communicator> inner_;
  prometheus::Histogram* const seconds_;
};

}  // namespace

std::unique_ptr<Communicator> TimeCommunicator(std::unique_ptr<Communicator> inner,
                                               prometheus::Histogram* all_reduce_seconds) {
  return std::make_unique<TimedCommunicator>(std::move(inner), all_reduce_seconds);
}

}  // namespace slmmesh
