// Structured logs on stderr, text or JSON, one line an event: LogInfo("worker.loaded", {{"tensors", n}}).
// Never a prompt, a completion or a key: fields are sizes, counts, durations, names and request ids.
#pragma once

#include <initializer_list>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace slmmesh {

enum class LogLevel { kDebug, kInfo, kWarning, kError };
enum class LogFormat { kText, kJson };

// A field's value is kept as a number or a boolean where it was one, so that JSON logs can be queried.
struct LogField {
  template <typename T>
  LogField(absl::string_view key_in, const T& value);  // string-like, integer, floating point, bool
  std::string key;
  std::string text;
  bool quoted;
};
using LogFields = std::initializer_list<LogField>;

// Once, from main(), after the flags are parsed (--log-format, --log-level). `program` stands in every line.
void InitLogging(absl::string_view program, LogFormat format, LogLevel level);

void Log(LogLevel level, absl::string_view event, LogFields fields);
inline void LogDebug(absl::string_view event, LogFields fields = {}) { Log(LogLevel::kDebug, event, fields); }
inline void LogInfo(absl::string_view event, LogFields fields = {}) { Log(LogLevel::kInfo, event, fields); }
inline void LogWarning(absl::string_view event, LogFields fields = {}) { Log(LogLevel::kWarning, event, fields); }
inline void LogError(absl::string_view event, LogFields fields = {}) { Log(LogLevel::kError, event, fields); }

}  // namespace slmmesh

#include "common/log_field.inc.h"
