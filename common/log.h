// Structured logs on stderr, text or JSON, one line an event: LogInfo("worker.loaded", {{"tensors", n}}).
// Never a prompt, a completion or a key: fields are sizes, counts, durations, names and request ids.
#pragma once

#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace slmmesh {

enum class LogLevel { kDebug, kInfo, kWarning, kError };
enum class LogFormat { kText, kJson };

// A field's value is kept as a number or a boolean where it was one, so that JSON logs can be queried.
struct LogField {
  // T: string-like, integer, floating point, bool, or absl::Status.
  template <typename T>
  LogField(absl::string_view key_in, const T& value) : key(key_in) {
    if constexpr (std::is_same_v<T, bool>) {
      text = value ? "true" : "false";
      quoted = false;
    } else if constexpr (std::is_floating_point_v<T>) {
      text = absl::StrCat(value);
      quoted = !std::isfinite(value);  // JSON has no NaN and no infinity
    } else if constexpr (std::is_integral_v<T> && std::is_signed_v<T>) {
      text = absl::StrCat(static_cast<int64_t>(value));
      quoted = false;
    } else if constexpr (std::is_integral_v<T>) {
      text = absl::StrCat(static_cast<uint64_t>(value));
      quoted = false;
    } else if constexpr (std::is_same_v<T, absl::Status>) {
      text = value.ToString();
    } else {
      text = std::string(value);
    }
  }
  std::string key;
  std::string text;
  bool quoted = true;
};
using LogFields = std::initializer_list<LogField>;

// Once, from main(), after the flags are parsed (--log-format, --log-level). `program` stands in every line.
void InitLogging(absl::string_view program, LogFormat format, LogLevel level);

// Whether events of this level are written: what they say may be costly to put together. Thread-safe.
bool IsLogged(LogLevel level);
// Thread-safe. Control characters and invalid UTF-8 are escaped: an event is always one line of valid UTF-8.
void Log(LogLevel level, absl::string_view event, LogFields fields);
inline void LogDebug(absl::string_view event, LogFields fields = {}) { Log(LogLevel::kDebug, event, fields); }
inline void LogInfo(absl::string_view event, LogFields fields = {}) { Log(LogLevel::kInfo, event, fields); }
inline void LogWarning(absl::string_view event, LogFields fields = {}) { Log(LogLevel::kWarning, event, fields); }
inline void LogError(absl::string_view event, LogFields fields = {}) { Log(LogLevel::kError, event, fields); }

}  // namespace slmmesh
