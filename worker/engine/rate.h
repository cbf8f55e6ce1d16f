// A recent rate: quantity over seconds, where older steps count ever less.
#pragma once

namespace slmmesh {

// Not thread-safe.
class SmoothedRate {
 public:
  void Add(double quantity, double seconds) {
    if (quantity <= 0) return;  // a step without any says nothing about how fast they go
    quantity_ = kMemory * quantity_ + quantity;
    seconds_ = kMemory * seconds_ + seconds;
  }
  double per_second() const { return seconds_ > 0 ? quantity_ / seconds_ : 0; }

 private:
  static constexpr double kMemory = 0.95;  // about the last twenty steps

  double quantity_ = 0;
  double seconds_ = 0;
};

}  // namespace slmmesh
