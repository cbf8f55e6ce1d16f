// Reads the head's table with the run folder's admin certificate.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "slmmesh/v1/head.pb.h"

namespace slmmesh {

class HeadClient {
 public:
  HeadClient(const std::string& run_folder, const std::string& cluster, const std::string& head_address);
  ~HeadClient();
  absl::StatusOr<v1::ClusterTable> GetTable(absl::Duration timeout);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace slmmesh
