// The stream from the head: the cluster's table at each change. The head is off the data path: while it is gone the
// watcher keeps trying, and the last table stays in force. Thread-safe.
#pragma once

#include <functional>
#include <memory>
#include <mutex>

#include "absl/time/time.h"
#include "slmmesh/v1/head.pb.h"

namespace grpc {
class Channel;
}

namespace slmmesh {

class HeadWatcher {
 public:
  using OnTable = std::function<void(const v1::ClusterTable& table)>;

  // `on_table` is called on gRPC's threads, never two at a time.
  HeadWatcher(std::shared_ptr<grpc::Channel> channel, OnTable on_table);
  ~HeadWatcher();  // waits until the stream has ended

  // Opens the stream anew when it broke; call every few hundred milliseconds.
  void Tick(absl::Time now);
  // Tells the head, now or when it is back: only the latest report counts.
  void Report(const v1::RouterReport& report);
  bool connected() const;

 private:
  class Stream;
  struct Shared;
  // Here alone, and in the stream until it has ended: it is destroyed on the thread that destroys this.
  const std::shared_ptr<grpc::Channel> channel_;
  const std::shared_ptr<Shared> shared_;
  absl::Time next_attempt_ = absl::InfinitePast();
};

}  // namespace slmmesh
