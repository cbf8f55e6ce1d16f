// A watch's stream: one JSON event a line.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"
#include "operator/kube/client.h"

namespace slmmesh::kube {

struct WatchEvent {
  WatchEventType type;
  nlohmann::json object;
};

// UNAVAILABLE: no event. An ERROR event becomes its own status: OUT_OF_RANGE for 410 Gone.
absl::StatusOr<WatchEvent> DecodeWatchLine(absl::string_view line);

// Cuts pieces into lines. Not thread-safe; holds one line at most.
class LineSplitter {
 public:
  explicit LineSplitter(size_t max_line_bytes) : max_line_bytes_(max_line_bytes) {}
  // `visit` gets each whole line that is not empty; its error ends the feeding.
  absl::Status Feed(absl::string_view piece, const std::function<absl::Status(absl::string_view line)>& visit);

 private:
  const size_t max_line_bytes_;
  std::string begun_;
};

}  // namespace slmmesh::kube
