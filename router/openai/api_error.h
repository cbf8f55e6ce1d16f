// How a refusal travels and what the client sees of it. Inside the router every refusal is an absl::Status; `param`,
// `code` and the seconds of Retry-After ride along as payloads, and one place turns all of it into OpenAI's JSON.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace slmmesh {

// INVALID_ARGUMENT about the request field `param`. The message names the value and the fix; the field stands first.
absl::Status RefuseField(absl::string_view param, absl::string_view message);
absl::Status WithCode(absl::Status status, absl::string_view code);
absl::Status WithRetryAfter(absl::Status status, int seconds);

struct ApiError {
  int http_status = 500;
  std::string type;
  std::string message;
  std::string param;            // empty: null
  std::string code;             // empty: null
  int retry_after_seconds = 0;  // 0: no Retry-After header
};

ApiError ToApiError(const absl::Status& status);
// {"error":{"message":…,"type":…,"param":…,"code":…}}
std::string ErrorJson(const ApiError& error);

}  // namespace slmmesh
