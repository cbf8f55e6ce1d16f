#include "operator/kube/watch_lines.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "operator/kube/api_error.h"

namespace slmmesh::kube {
namespace {

std::optional<WatchEventType> TypeOf(const std::string& name) {
  if (name == "ADDED") return WatchEventType::kAdded;
  if (name == "MODIFIED") return WatchEventType::kModified;
  if (name == "DELETED") return WatchEventType::kDeleted;
  if (name == "BOOKMARK") return WatchEventType::kBookmark;
  return std::nullopt;
}

}  // namespace

absl::StatusOr<WatchEvent> DecodeWatchLine(absl::string_view line) {
  nlohmann::json event = nlohmann::json::parse(line.begin(), line.end(), nullptr, /*allow_exceptions=*/false);
  if (!event.is_object()) return absl::UnavailableError("the watch sent a line that is no JSON object");
  const auto object = event.find("object");
  if (object == event.end() || !object->is_object()) {
    return absl::UnavailableError("the watch sent an event without an object");
  }
  const std::string name = TextAt(event, "type");
  if (name == "ERROR") return ErrorOfStatusObject(*object, "watch");
  const std::optional<WatchEventType> type = TypeOf(name);
  if (!type.has_value()) return absl::UnavailableError("the watch sent an event of unknown type");
  return WatchEvent{*type, std::move(*object)};
}

absl::Status LineSplitter::Feed(absl::string_view piece,
                                const std::function<absl::Status(absl::string_view line)>& visit) {
  for (size_t end = piece.find('\n'); end != absl::string_view::npos; end = piece.find('\n')) {
    absl::string_view line = piece.substr(0, end);
    if (!begun_.empty()) {
      begun_.append(line.data(), line.size());
      line = begun_;
    }
    if (line.size() > max_line_bytes_) break;
    if (!line.empty()) {
      if (absl::Status visited = visit(line); !visited.ok()) return visited;
    }
    begun_ = std::string();  // frees it: a rare long line is not kept
    piece.remove_prefix(end + 1);
  }
  if (begun_.size() + piece.size() > max_line_bytes_) {
    return absl::UnavailableError(absl::StrCat("the watch sent a line over ", max_line_bytes_, " bytes"));
  }
  begun_.append(piece.data(), piece.size());
  return absl::OkStatus();
}

}  // namespace slmmesh::kube
