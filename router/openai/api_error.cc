#include "router/openai/api_error.h"

#include <cstdlib>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "router/openai/json_text.h"

namespace slmmesh {
namespace {

constexpr char kParam[] = "slmmesh.io/param";
constexpr char kCode[] = "slmmesh.io/code";
constexpr char kRetryAfter[] = "slmmesh.io/retry-after";

std::string Payload(const absl::Status& status, const char* key) {
  const absl::optional<absl::Cord> payload = status.GetPayload(key);
  return payload.has_value() ? std::string(*payload) : std::string();
}

struct Shape {
  int http_status;
  const char* type;
};

Shape ShapeOf(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
      return {400, "invalid_request_error"};
    case absl::StatusCode::kUnauthenticated:
      return {401, "authentication_error"};
    case absl::StatusCode::kPermissionDenied:
      return {403, "permission_error"};
    case absl::StatusCode::kNotFound:
      return {404, "not_found_error"};
    case absl::StatusCode::kResourceExhausted:
      return {429, "rate_limit_error"};
    case absl::StatusCode::kCancelled:
      return {499, "cancelled_error"};
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kAborted:
      return {503, "service_unavailable_error"};
    case absl::StatusCode::kDeadlineExceeded:
      return {504, "timeout_error"};
    default:
      return {500, "internal_error"};
  }
}

void AppendNullable(std::string* out, const std::string& text) {
  if (text.empty()) {
    out->append("null");
  } else {
    AppendJsonString(out, text);
  }
}

}  // namespace

absl::Status RefuseField(absl::string_view param, absl::string_view message) {
  absl::Status status = absl::InvalidArgumentError(absl::StrCat(param, ": ", message));
  status.SetPayload(kParam, absl::Cord(param));
  return status;
}

absl::Status WithCode(absl::Status status, absl::string_view code) {
  status.SetPayload(kCode, absl::Cord(code));
  return status;
}

absl::Status WithRetryAfter(absl::Status status, int seconds) {
  status.SetPayload(kRetryAfter, absl::Cord(absl::StrCat(seconds)));
  return status;
}

ApiError ToApiError(const absl::Status& status) {
  const Shape shape = ShapeOf(status.code());
  ApiError error;
  error.http_status = shape.http_status;
  error.type = shape.type;
  error.message = std::string(status.message());
  error.param = Payload(status, kParam);
  error.code = Payload(status, kCode);
  error.retry_after_seconds = std::atoi(Payload(status, kRetryAfter).c_str());
  return error;
}

std::string ErrorJson(const ApiError& error) {
  std::string out = "{\"error\":{\"message\":";
  AppendJsonString(&out, error.message);
  out.append(",\"type\":");
  AppendJsonString(&out, error.type);
  out.append(",\"param\":");
  AppendNullable(&out, error.param);
  out.append(",\"code\":");
  AppendNullable(&out, error.code);
  out.append("}}");
  return out;
}

}  // namespace slmmesh
