#include "operator/kube/api_error.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

namespace slmmesh::kube {
namespace {

constexpr size_t kMaxMessageBytes = 1024;

absl::StatusCode CodeOf(int http_status, absl::string_view reason) {
  switch (http_status) {
    case 401:
      return absl::StatusCode::kUnauthenticated;
    case 403:
      return absl::StatusCode::kPermissionDenied;
    case 404:
      return absl::StatusCode::kNotFound;
    case 405:
      return absl::StatusCode::kUnimplemented;
    case 408:
      return absl::StatusCode::kUnavailable;
    case 409:
      return reason == "AlreadyExists" ? absl::StatusCode::kAlreadyExists : absl::StatusCode::kAborted;
    case 410:
      return absl::StatusCode::kOutOfRange;
    case 429:
      return absl::StatusCode::kResourceExhausted;
    default:
      return http_status >= 400 && http_status < 500 ? absl::StatusCode::kInvalidArgument
                                                     : absl::StatusCode::kUnavailable;
  }
}

absl::Status MakeError(int http_status, absl::string_view reason, absl::string_view message, absl::string_view what) {
  return absl::Status(CodeOf(http_status, reason), absl::StrCat(what, ": ", message.substr(0, kMaxMessageBytes)));
}

}  // namespace

std::string TextAt(const nlohmann::json& object, const char* key) {
  if (!object.is_object()) return "";
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

std::string MetadataTextAt(const nlohmann::json& object, const char* key) {
  if (!object.is_object()) return "";
  const auto metadata = object.find("metadata");
  return metadata == object.end() ? "" : TextAt(*metadata, key);
}

absl::Status ErrorOfStatusObject(const nlohmann::json& status, absl::string_view what) {
  int code = 500;
  if (status.is_object()) {
    if (const auto found = status.find("code"); found != status.end() && found->is_number_integer()) {
      code = static_cast<int>(std::clamp<int64_t>(found->get<int64_t>(), 0, 999));
    }
  }
  const std::string reason = TextAt(status, "reason");
  if (reason == "Expired" || reason == "Gone") code = 410;
  const std::string message = TextAt(status, "message");
  return MakeError(code, reason, message.empty() ? "the API server gave no reason" : message, what);
}

absl::Status ErrorOfResponse(int http_status, absl::string_view body, absl::string_view what) {
  const nlohmann::json parsed = nlohmann::json::parse(body.begin(), body.end(), nullptr, /*allow_exceptions=*/false);
  const std::string message = TextAt(parsed, "message");
  if (message.empty()) return MakeError(http_status, "", absl::StrCat("HTTP status ", http_status), what);
  return MakeError(http_status, TextAt(parsed, "reason"), message, what);
}

}  // namespace slmmesh::kube
