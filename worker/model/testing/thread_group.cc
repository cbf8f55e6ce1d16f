#include "worker/model/testing/thread_group.h"

#include <algorithm>
#include <cstdlib>
#include <optional>

namespace slmmesh {

class ThreadGroup::Rank : public Communicator {
 public:
  Rank(ThreadGroup* group, int rank) : group_(group), rank_(rank) {}
  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(group_->published_.size()); }

  absl::Status AllReduceSum(absl::Span<float> data, uint32_t contributors) override {
    group_->published_[rank_] = data.data();
    group_->barrier_.arrive_and_wait();
    std::vector<float> sums(data.size());
    for (size_t i = 0; i < data.size(); ++i) sums[i] = Sum(0, size(), contributors, i).value();
    group_->barrier_.arrive_and_wait();  // all have read before anyone writes
    std::copy(sums.begin(), sums.end(), data.begin());
    return absl::OkStatus();
  }

  absl::Status GatherToRoot(absl::Span<const float> local, absl::Span<const size_t> counts, float* out) override {
    group_->published_[rank_] = local.data();
    group_->barrier_.arrive_and_wait();
    if (rank_ == 0) {
      for (int peer = 0; peer < size(); ++peer) out = std::copy_n(group_->published_[peer], counts[peer], out);
    }
    group_->barrier_.arrive_and_wait();
    return absl::OkStatus();
  }

  absl::Status Broadcast(std::string*, absl::Duration) override { return absl::UnimplementedError("not in tests"); }
  void Abort(const std::string&) override { std::abort(); }

 private:
  std::optional<float> Sum(int lo, int hi, uint32_t contributors, size_t i) const {
    if (hi - lo == 1) return (contributors >> lo & 1) ? std::optional(group_->published_[lo][i]) : std::nullopt;
    const int mid = (lo + hi) / 2;
    const std::optional<float> left = Sum(lo, mid, contributors, i);
    const std::optional<float> right = Sum(mid, hi, contributors, i);
    if (!left.has_value()) return right;
    if (!right.has_value()) return left;
    return *left + *right;
  }

  ThreadGroup* group_;
  int rank_;
};

ThreadGroup::ThreadGroup(int size) : barrier_(size), published_(size) {
  for (int rank = 0; rank < size; ++rank) ranks_.push_back(std::make_unique<Rank>(this, rank));
}

ThreadGroup::~ThreadGroup() = default;

Communicator& ThreadGroup::communicator(int rank) { return *ranks_[rank]; }

}  // namespace slmmesh
