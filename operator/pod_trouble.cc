#include "operator/pod_trouble.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "operator/json_fields.h"

namespace slmmesh {
namespace {

using nlohmann::json;

constexpr size_t kMaxBytes = 300;

// One line, cut at a character's start.
std::string Shorten(absl::string_view text) {
  std::string line(absl::StripAsciiWhitespace(text));
  std::replace_if(
      line.begin(), line.end(), [](unsigned char c) { return c < 0x20; }, ' ');
  if (line.size() <= kMaxBytes) return line;
  size_t end = kMaxBytes - 3;
  while (end > 0 && (static_cast<unsigned char>(line[end]) & 0xc0) == 0x80) --end;
  return line.substr(0, end) + "...";
}

// The runtime's message repeats the image and its own call stack: the cause is a word in it, or its end.
std::string PullProblem(const std::string& message) {
  static constexpr std::pair<const char*, const char*> kCauses[] = {
      {"ErrImageNeverPull", "it is not on the node, and imagePullPolicy is Never"},
      {"not found", "not found"},
      {"does not exist", "not found"},
      {"unauthorized", "the registry asks for credentials"},
      {"authorization failed", "the registry asks for credentials"},
      {"denied", "the registry denies access"},
      {"no such host", "the registry's name cannot be resolved"},
      {"connection refused", "the registry refuses connections"},
      {"i/o timeout", "the registry does not answer"},
      {"deadline exceeded", "the registry does not answer"},
      {"x509", "the registry's certificate is not trusted"},
      {"no match for platform", "it is for another kind of processor"},
      {"no space left", "the node's disk is full"},
  };
  for (const auto& [sign, cause] : kCauses) {
    if (absl::StrContains(message, sign)) return absl::StrCat(": ", cause);
  }
  return "";
}

std::string ImageTrouble(const json& container, const std::string& reason, const std::string& message) {
  const std::string image = TextOf(container, "image");
  if (reason == "InvalidImageName") return absl::StrCat("image ", image, " is not a valid name");
  return absl::StrCat("image ", image, " cannot be pulled", PullProblem(absl::StrCat(reason, " ", message)));
}

// Its last line, where that is no line of the log: programs that end by themselves say why, others are cut off.
std::string LastWords(const std::string& message) {
  const absl::string_view text = absl::StripAsciiWhitespace(message);
  const size_t newline = text.rfind('\n');
  const absl::string_view line = newline == absl::string_view::npos ? text : text.substr(newline + 1);
  return absl::StartsWith(line, "{") ? "" : std::string(line);
}

std::string EndedTrouble(const std::string& container, const json& terminated) {
  if (TextOf(terminated, "reason") == "OOMKilled") {
    return absl::StrCat("container ", container, " needs more memory than its limit (OOMKilled)");
  }
  const std::string message = LastWords(TextOf(terminated, "message"));
  return absl::StrCat("container ", container, " ended with exit code ", NumberOf(terminated, "exitCode"),
                      message.empty() ? "" : ": ", message);
}

std::string WaitingTrouble(const json& container) {
  const json& waiting = FieldOf(FieldOf(container, "state"), "waiting");
  const std::string name = TextOf(container, "name");
  const std::string reason = TextOf(waiting, "reason");
  const std::string message = TextOf(waiting, "message");
  if (reason == "ErrImagePull" || reason == "ImagePullBackOff" || reason == "InvalidImageName" ||
      reason == "ErrImageNeverPull" || reason == "ImageInspectError") {
    return ImageTrouble(container, reason, message);
  }
  if (reason == "CrashLoopBackOff") {
    const json& last = FieldOf(FieldOf(container, "lastState"), "terminated");
    return last.is_null() ? absl::StrCat("container ", name, " keeps ending") : EndedTrouble(name, last);
  }
  if (reason.empty() || reason == "ContainerCreating" || reason == "PodInitializing") return "";
  return absl::StrCat("container ", name, " cannot start (", reason, ")", message.empty() ? "" : ": ", message);
}

std::string ContainerTrouble(const json& container, bool init) {
  if (std::string trouble = WaitingTrouble(container); !trouble.empty()) return trouble;
  const json& terminated = FieldOf(FieldOf(container, "state"), "terminated");
  if (terminated.is_null() || (init && NumberOf(terminated, "exitCode") == 0)) return "";
  return EndedTrouble(TextOf(container, "name"), terminated);
}

std::string ContainersTrouble(const json& status) {
  for (const char* list : {"initContainerStatuses", "containerStatuses"}) {
    for (const json& container : FieldOf(status, list)) {
      std::string trouble = ContainerTrouble(container, list[0] == 'i');
      if (!trouble.empty()) return trouble;
    }
  }
  return "";
}

// "0/2 nodes are available: 2 Insufficient memory. preemption: 0/2 nodes …" without what the scheduler tried next.
std::string SchedulerWords(const std::string& message) {
  const std::string first = message.substr(0, message.find(". "));
  const size_t colon = first.find(": ");
  const std::string reasons = colon == std::string::npos ? first : first.substr(colon + 2);
  return absl::StrReplaceAll(absl::StripSuffix(reasons, "."),
                             {{"Insufficient ", "without enough "},
                              {"node(s) had untolerated taint(s)", "with taints that the pod does not tolerate"},
                              {"node(s) had untolerated taint", "with a taint that the pod does not tolerate"},
                              {"node(s) didn't match Pod's node affinity/selector", "not matching its node selector"},
                              {"node(s) were unschedulable", "cordoned"}});
}

std::string SchedulingTrouble(const json& status) {
  for (const json& condition : FieldOf(status, "conditions")) {
    if (TextOf(condition, "type") != "PodScheduled" || TextOf(condition, "status") != "False") continue;
    if (TextOf(condition, "reason") == "SchedulingGated") return "a scheduling gate holds it back";
    return absl::StrCat("no node can take it: ", SchedulerWords(TextOf(condition, "message")));
  }
  return "";
}

std::string FailedTrouble(const json& status) {
  const std::string reason = TextOf(status, "reason");
  const std::string message = TextOf(status, "message");
  if (reason == "Evicted") return absl::StrCat("evicted: ", message);
  if (std::string trouble = ContainersTrouble(status); !trouble.empty()) return trouble;
  return absl::StrCat("it failed", reason.empty() ? "" : ": ", reason, message.empty() ? "" : ": ", message);
}

}  // namespace

std::string PodTrouble(const json& pod) {
  const json& status = FieldOf(pod, "status");
  if (TextOf(status, "phase") == "Failed") return Shorten(FailedTrouble(status));
  std::string trouble = ContainersTrouble(status);
  if (trouble.empty() && TextOf(FieldOf(pod, "spec"), "nodeName").empty()) trouble = SchedulingTrouble(status);
  return Shorten(trouble);
}

}  // namespace slmmesh
