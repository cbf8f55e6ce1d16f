#include "common/flags.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>

#include "absl/flags/commandlineflag.h"
#include "absl/flags/flag.h"
#include "absl/flags/reflection.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/log.h"
#include "common/status.h"

ABSL_FLAG(std::string, log_format, "text", "log lines as text or json");
ABSL_FLAG(std::string, log_level, "info", "least severe log line that is written: debug, info, warning or error");

namespace slmmesh {
namespace {

constexpr int kUsageExitCode = 2;

// The program's own knobs by name with dashes; abseil's own flags (flagfile, undefok, …) are not among them.
std::map<std::string, absl::CommandLineFlag*> OwnFlags() {
  std::map<std::string, absl::CommandLineFlag*> own;
  for (const auto& [name, flag] : absl::GetAllFlags()) {
    if (flag->IsRetired() || absl::StrContains(flag->Filename(), "absl/flags/")) continue;
    own[absl::StrReplaceAll(name, {{"_", "-"}})] = flag;
  }
  return own;
}

size_t EditDistance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

absl::Status UnknownFlag(const std::string& name, const std::map<std::string, absl::CommandLineFlag*>& flags) {
  std::string nearest;
  size_t best = name.size() / 3 + 2;  // further away is no likely typing error
  for (const auto& [candidate, flag] : flags) {
    const size_t distance = EditDistance(name, candidate);
    if (distance < best) {
      best = distance;
      nearest = candidate;
    }
  }
  const std::string hint = nearest.empty() ? "--help lists all" : absl::StrCat("did you mean --", nearest, "?");
  return absl::InvalidArgumentError(absl::StrCat("unknown knob --", name, "; ", hint));
}

absl::Status SetFlag(absl::CommandLineFlag* flag, const std::string& name, const std::string& value) {
  std::string error;
  if (flag->ParseFrom(value, &error)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--", name, ": cannot read the value '", value, "'", error.empty() ? "" : ": ", error));
}

absl::StatusOr<LogFormat> ParseLogFormat(const std::string& name) {
  if (name == "text") return LogFormat::kText;
  if (name == "json") return LogFormat::kJson;
  return absl::InvalidArgumentError(absl::StrCat("--log-format: '", name, "' is none of text, json"));
}

absl::StatusOr<LogLevel> ParseLogLevel(const std::string& name) {
  if (name == "debug") return LogLevel::kDebug;
  if (name == "info") return LogLevel::kInfo;
  if (name == "warning") return LogLevel::kWarning;
  if (name == "error") return LogLevel::kError;
  return absl::InvalidArgumentError(absl::StrCat("--log-level: '", name, "' is none of debug, info, warning, error"));
}

absl::Status ApplyLogFlags(const std::string& program) {
  ASSIGN_OR_RETURN(const LogFormat format, ParseLogFormat(absl::GetFlag(FLAGS_log_format)));
  ASSIGN_OR_RETURN(const LogLevel level, ParseLogLevel(absl::GetFlag(FLAGS_log_level)));
  InitLogging(program, format, level);
  return absl::OkStatus();
}

[[noreturn]] void ExitWithUsageError(const std::string& program, const absl::Status& status) {
  std::fprintf(stderr, "%s: %s\n", program.c_str(), std::string(status.message()).c_str());
  std::exit(kUsageExitCode);
}

bool AsksForHelp(const std::vector<std::string>& arguments) {
  const auto end = std::find(arguments.begin(), arguments.end(), "--");
  return std::any_of(arguments.begin(), end, [](const std::string& a) { return a == "--help" || a == "-h"; });
}

}  // namespace

absl::StatusOr<std::vector<std::string>> ParseArguments(const std::vector<std::string>& arguments) {
  const std::map<std::string, absl::CommandLineFlag*> flags = OwnFlags();
  std::vector<std::string> positional;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (argument == "--") {
      positional.insert(positional.end(), arguments.begin() + static_cast<ptrdiff_t>(i) + 1, arguments.end());
      break;
    }
    if (argument.size() < 2 || argument[0] != '-') {
      positional.push_back(argument);
      continue;
    }
    const size_t equals = argument.find('=');
    const size_t start = argument[1] == '-' ? 2 : 1;
    const std::string name = absl::StrReplaceAll(argument.substr(start, equals - start), {{"_", "-"}});
    const auto found = flags.find(name);
    if (found == flags.end()) {
      const auto negated = absl::StartsWith(name, "no") ? flags.find(name.substr(name[2] == '-' ? 3 : 2)) : flags.end();
      if (negated == flags.end() || !negated->second->IsOfType<bool>() || equals != std::string::npos) {
        return UnknownFlag(name, flags);
      }
      RETURN_IF_ERROR(SetFlag(negated->second, name, "false"));
    } else if (equals != std::string::npos) {
      RETURN_IF_ERROR(SetFlag(found->second, name, argument.substr(equals + 1)));
    } else if (found->second->IsOfType<bool>()) {
      RETURN_IF_ERROR(SetFlag(found->second, name, "true"));
    } else if (i + 1 < arguments.size()) {
      RETURN_IF_ERROR(SetFlag(found->second, name, arguments[++i]));
    } else {
      return absl::InvalidArgumentError(absl::StrCat("--", name, ": the value is missing"));
    }
  }
  return positional;
}

std::string FlagsHelp(const std::string& program, const std::string& usage) {
  std::string help = absl::StrCat(program, ": ", usage, "\n\nKnobs, with their defaults:\n");
  for (const auto& [name, flag] : OwnFlags()) {
    absl::StrAppend(&help, "  --", name, "=", flag->DefaultValue(), "\n      ", flag->Help(), "\n");
  }
  absl::StrAppend(&help, "  --help\n      print this text\n");
  return help;
}

std::vector<std::string> ParseFlags(int argc, char** argv, const std::string& program, const std::string& usage) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (AsksForHelp(arguments)) {
    std::fputs(FlagsHelp(program, usage).c_str(), stdout);
    std::exit(0);
  }
  absl::StatusOr<std::vector<std::string>> positional = ParseArguments(arguments);
  if (!positional.ok()) ExitWithUsageError(program, positional.status());
  if (absl::Status status = ApplyLogFlags(program); !status.ok()) ExitWithUsageError(program, status);
  return *std::move(positional);
}

}  // namespace slmmesh
