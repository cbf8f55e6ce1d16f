// The heads' tables: one Observe stream for each cluster whose head can be reached, all on gRPC's shared threads.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "operator/cluster_certificates.h"
#include "slmmesh/v1/head.pb.h"

namespace slmmesh {

struct HeadTarget {
  std::string address;   // host:port
  std::string identity;  // of its cluster, in certificates
  std::string pod_uid;   // of its pod: a change is another head
};

// Thread-safe.
class TableWatcher {
 public:
  using CredentialSource = std::function<absl::StatusOr<ClientPems>()>;
  struct Options {
    // On gRPC's threads: the table of the cluster `key` is another one, or gone. Where only loads differ, at most once
    // per load_interval. It must not call the watcher.
    std::function<void(const std::string& key)> on_change;
    absl::Duration load_interval = absl::Seconds(5);
    absl::Duration shortest_retry = absl::Milliseconds(200);
    absl::Duration longest_retry = absl::Seconds(5);
  };
  explicit TableWatcher(Options options);
  ~TableWatcher();  // ends all streams

  // Follows this head from now on; nothing happens where it does already.
  void Follow(const std::string& key, const HeadTarget& target, const CredentialSource& credentials);
  void Forget(const std::string& key);
  // Null: not reachable now.
  std::shared_ptr<const v1::ClusterTable> Table(const std::string& key) const;
  // The whole list of workers to drain: OK once the head has it. Nothing is said to a head that knows it; a head that
  // restarted is told again without being asked to. UNAVAILABLE: it cannot be reached now.
  absl::Status SetDraining(const std::string& key, const std::vector<std::string>& worker_ids);
  size_t streams() const;

 private:
  class Stream;
  std::shared_ptr<Stream> Find(const std::string& key) const;

  const Options options_;
  mutable absl::Mutex mutex_;
  std::map<std::string, std::shared_ptr<Stream>> streams_ ABSL_GUARDED_BY(mutex_);
};

// Whether the two say the same about membership, whatever the loads.
bool SameButLoads(const v1::ClusterTable& a, const v1::ClusterTable& b);

}  // namespace slmmesh
