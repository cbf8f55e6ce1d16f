// The operators' streams of Observe: the whole table at each change, and once a second while loads change.
#pragma once

#include <grpcpp/support/server_callback.h>

#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "absl/time/time.h"
#include "head/membership.h"
#include "slmmesh/v1/head.pb.h"

namespace slmmesh {

constexpr size_t kMaxObservers = 16;

// One stream; deletes itself when it is over, after `on_done`. Thread-safe.
class ObserveStream : public grpc::ServerWriteReactor<v1::ClusterTable> {
 public:
  explicit ObserveStream(std::function<void(ObserveStream*)> on_done) : on_done_(std::move(on_done)) {}
  // The latest table replaces one that still waits.
  void Send(std::shared_ptr<const v1::ClusterTable> table);
  void End(const absl::Status& status);
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  void WriteNext();  // with mutex_ held

  const std::function<void(ObserveStream*)> on_done_;
  std::mutex mutex_;
  std::shared_ptr<const v1::ClusterTable> waiting_, writing_;
  bool is_ended_ = false;
};

// Not thread-safe: the head's service guards it.
class Observers {
 public:
  // RESOURCE_EXHAUSTED when there are too many. The stream gets the table at the next Publish().
  absl::Status Add(ObserveStream* stream);
  void Remove(ObserveStream* stream) { streams_.erase(stream); }
  // Sends what is due. Call it after each change, and every 100 ms or so.
  void Publish(const Membership& membership, absl::Time now);

 private:
  void SendToAll(const Membership& membership, absl::Time now);

  std::set<ObserveStream*> streams_;
  bool has_new_ = false;  // a stream that got nothing yet
  uint64_t version_ = 0, routers_version_ = 0;
  std::string loads_;  // of the table sent last
  absl::Time sent_at_ = absl::InfinitePast();
};

}  // namespace slmmesh
