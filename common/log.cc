#include "common/log.h"

#include <spdlog/logger.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace slmmesh {
namespace {

struct Logging {
  std::string program = "mesh";
  LogFormat format = LogFormat::kText;
  std::shared_ptr<spdlog::logger> logger;
};

// Leaked on purpose: threads may log until the process is gone.
Logging& GetLogging() {
  static Logging* logging = [] {
    auto* created = new Logging;
    created->logger = std::make_shared<spdlog::logger>("mesh", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    created->logger->set_pattern("%v");
    return created;
  }();
  return *logging;
}

spdlog::level::level_enum SpdlogLevel(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::err;
}

absl::string_view LevelName(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "debug";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarning:
      return "warning";
    case LogLevel::kError:
      return "error";
  }
  return "error";
}

std::string Quoted(absl::string_view text) {
  return nlohmann::json(std::string(text)).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

bool IsPlainWord(absl::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return c > ' ' && c < 0x7f && c != '"' && c != '=' && c != '\\';
  });
}

std::string TimeStamp() { return absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", absl::Now(), absl::UTCTimeZone()); }

std::string JsonLine(const std::string& program, LogLevel level, absl::string_view event, LogFields fields) {
  std::string line = absl::StrCat("{\"time\":\"", TimeStamp(), "\",\"level\":\"", LevelName(level),
                                  "\",\"program\":", Quoted(program), ",\"event\":", Quoted(event));
  for (const LogField& field : fields) {
    absl::StrAppend(&line, ",", Quoted(field.key), ":", field.quoted ? Quoted(field.text) : field.text);
  }
  return line + "}";
}

std::string TextLine(const std::string& program, LogLevel level, absl::string_view event, LogFields fields) {
  std::string line = absl::StrCat(TimeStamp(), " ", LevelName(level), " ", program, " ",
                                  IsPlainWord(event) ? std::string(event) : Quoted(event));
  for (const LogField& field : fields) {
    absl::StrAppend(&line, " ", field.key, "=", IsPlainWord(field.text) ? field.text : Quoted(field.text));
  }
  return line;
}

}  // namespace

void InitLogging(absl::string_view program, LogFormat format, LogLevel level) {
  Logging& logging = GetLogging();
  logging.program = std::string(program);
  logging.format = format;
  logging.logger->set_level(SpdlogLevel(level));
}

bool IsLogged(LogLevel level) { return GetLogging().logger->should_log(SpdlogLevel(level)); }

void Log(LogLevel level, absl::string_view event, LogFields fields) {
  if (!IsLogged(level)) return;
  Logging& logging = GetLogging();
  const std::string line = logging.format == LogFormat::kJson ? JsonLine(logging.program, level, event, fields)
                                                              : TextLine(logging.program, level, event, fields);
  logging.logger->log(SpdlogLevel(level), spdlog::string_view_t(line.data(), line.size()));
}

}  // namespace slmmesh
