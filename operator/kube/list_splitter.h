// Cuts a list's JSON into its items while it arrives, so that one item is held at a time and never the list.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json_fwd.hpp"

namespace slmmesh::kube {

inline constexpr size_t kMaxObjectBytes = size_t{16} << 20;  // etcd's own limit is 1.5 MiB; JSON is longer

// Not thread-safe. Fields of the list may stand before or after its items.
class ListSplitter {
 public:
  explicit ListSplitter(std::function<void(const nlohmann::json& item)> visit) : visit_(std::move(visit)) {}

  absl::Status Feed(absl::string_view piece);
  // After the last piece: the list with no items. An error when it was no whole list.
  absl::StatusOr<nlohmann::json> Finish();

 private:
  absl::Status Take(char c);
  absl::Status Open(char c);
  absl::Status Close();
  absl::Status EndItem();

  const std::function<void(const nlohmann::json& item)> visit_;
  std::string list_;         // all but the items
  std::string item_;         // the one that is arriving
  std::string last_string_;  // at the list's own level: the key before a bracket
  int depth_ = 0;
  bool in_string_ = false;
  bool escaped_ = false;
  bool in_items_ = false;  // inside the brackets of "items"
};

}  // namespace slmmesh::kube
