#include "cli/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "common/files.h"
#include "common/log.h"
#include "common/status.h"

namespace slmmesh {
namespace {

constexpr absl::Duration kHeadStartTimeout = absl::Seconds(20);
constexpr absl::Duration kPoll = absl::Milliseconds(10);
constexpr absl::Duration kQuickDeath = absl::Seconds(10);
constexpr int kMaxQuickDeaths = 3;

std::string LogPath(const std::string& run_folder, const std::string& process) {
  return absl::StrCat(run_folder, "/logs/", process, ".log");
}

// In the child, between fork and exec: async-signal-safe calls alone.
[[noreturn]] void ExecChild(const char* program, char* const* argv, int log_fd, int parent_pid) {
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent_pid) _exit(1);  // the parent died before prctl
  setpgid(0, 0);                          // a Ctrl-C reaches the supervisor alone, which stops children in order
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  dup2(log_fd, STDOUT_FILENO);
  dup2(log_fd, STDERR_FILENO);
  execv(program, argv);
  static const char kMessage[] = "cannot execute this program: is it built beside mesh?\n";
  if (write(STDERR_FILENO, kMessage, sizeof kMessage - 1) < 0) _exit(126);
  _exit(127);
}

}  // namespace

Supervisor::Supervisor(std::string binary_folder, std::string run_folder, std::vector<ProcessSpec> plan,
                       MeshState state)
    : binary_folder_(std::move(binary_folder)), run_folder_(std::move(run_folder)), state_(std::move(state)) {
  for (ProcessSpec& spec : plan) {
    Child child;
    child.spec = std::move(spec);
    children_.push_back(std::move(child));
  }
}

Supervisor::~Supervisor() { Stop(absl::Seconds(5)); }

absl::Status Supervisor::Start() {
  for (Child& child : children_) {
    RETURN_IF_ERROR(StartChild(child));
    if (child.spec.role != Role::kHead) continue;
    RETURN_IF_ERROR(WaitForHead());
    // A restarted head takes the same port: workers and routers dial it again there.
    for (Child& other : children_) {
      for (std::string& arg : other.spec.args) {
        arg = absl::StrReplaceAll(arg, {{kHeadAddress, state_.head}});
        if (other.spec.role == Role::kHead && arg == "--listen=127.0.0.1:0")
          arg = absl::StrCat("--listen=", state_.head);
      }
    }
  }
  return absl::OkStatus();
}

absl::Status Supervisor::WaitForHead() {
  const absl::Time deadline = absl::Now() + kHeadStartTimeout;
  while (absl::Now() < deadline) {
    if (auto addresses = ReadAddressFile(AddressFile(run_folder_, "head")); addresses.ok()) {
      state_.head = (*addresses)["grpc"];
      SaveState();
      return absl::OkStatus();
    }
    Reap();
    if (children_[0].pid == 0) break;
    absl::SleepFor(kPoll);
  }
  return absl::UnavailableError(absl::StrCat("the head did not start: ", LogTail("head")));
}

absl::Status Supervisor::StartChild(Child& child) {
  const std::string log = LogPath(run_folder_, child.spec.name);
  const int log_fd = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (log_fd < 0) return absl::UnavailableError(absl::StrCat(log, ": ", strerror(errno)));
  const std::string program = absl::StrCat(binary_folder_, "/", child.spec.args[0]);
  std::vector<char*> argv;
  for (std::string& arg : child.spec.args) argv.push_back(arg.data());
  argv.push_back(nullptr);
  const int parent = getpid();
  const int pid = fork();
  if (pid == 0) ExecChild(program.c_str(), argv.data(), log_fd, parent);
  close(log_fd);
  if (pid < 0) return absl::UnavailableError(absl::StrCat("cannot start ", program, ": ", strerror(errno)));
  child.pid = pid;
  child.started = absl::Now();
  child.restart_at = absl::InfinitePast();
  SaveState();
  return absl::OkStatus();
}

void Supervisor::OnDeath(Child& child, int wait_status) {
  const bool quick = absl::Now() - child.started < kQuickDeath;
  child.quick_deaths = quick ? child.quick_deaths + 1 : 0;
  child.pid = 0;
  // The first restart is at once: a replacement that comes soon is a short gap.
  const int exponent = std::min(child.quick_deaths, 5);
  child.restart_at = absl::Now() + (exponent <= 1 ? absl::ZeroDuration() : absl::Milliseconds(250 << exponent));
  LogWarning("supervisor.process_died", {{"process", child.spec.name},
                                         {"exit_code", WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : -1},
                                         {"signal", WIFSIGNALED(wait_status) ? WTERMSIG(wait_status) : 0}});
  SaveState();
}

void Supervisor::Reap() {
  for (Child& child : children_) {
    int status = 0;
    if (child.pid != 0 && waitpid(child.pid, &status, WNOHANG) == child.pid) OnDeath(child, status);
  }
}

absl::Status Supervisor::Tick(bool ready) {
  Reap();
  for (Child& child : children_) {
    if (child.pid != 0) continue;
    if (!ready && child.quick_deaths >= kMaxQuickDeaths) {
      return absl::UnavailableError(absl::StrCat(child.spec.name, " does not start: ", LogTail(child.spec.name)));
    }
    if (absl::Now() < child.restart_at) continue;
    ++child.restarts;
    RETURN_IF_ERROR(StartChild(child));
  }
  return absl::OkStatus();
}

void Supervisor::SignalRole(Role role, int signal, absl::Duration grace) {
  for (Child& child : children_) {
    if (child.spec.role == role && child.pid != 0) kill(child.pid, signal);
  }
  const absl::Time deadline = absl::Now() + grace;
  for (Child& child : children_) {
    while (child.spec.role == role && child.pid != 0) {
      int status = 0;
      if (waitpid(child.pid, &status, WNOHANG) == child.pid) {
        child.pid = 0;
      } else if (absl::Now() > deadline) {
        kill(child.pid, SIGKILL);
        waitpid(child.pid, &status, 0);
        child.pid = 0;
      } else {
        absl::SleepFor(kPoll);
      }
    }
  }
}

void Supervisor::Stop(absl::Duration grace) {
  for (Role role : {Role::kRouter, Role::kWorker, Role::kHead}) SignalRole(role, SIGTERM, grace);
}

void Supervisor::SetPhase(const std::string& phase) {
  state_.phase = phase;
  if (auto addresses = ReadAddressFile(AddressFile(run_folder_, "router-0")); addresses.ok()) {
    state_.http = (*addresses)["http"];
  }
  SaveState();
}

void Supervisor::SaveState() {
  state_.processes.clear();
  for (const Child& child : children_) state_.processes.push_back({child.spec.name, child.pid, child.restarts});
  if (absl::Status status = WriteState(run_folder_, state_); !status.ok()) {
    LogWarning("supervisor.state_not_written", {{"error", status.message()}});
  }
}

std::string Supervisor::LogTail(const std::string& process) const {
  constexpr size_t kTailBytes = 2000;
  const std::string path = LogPath(run_folder_, process);
  const auto text = ReadFile(path);
  if (!text.ok()) return std::string(text.status().message());
  const size_t begin = text->size() > kTailBytes ? text->size() - kTailBytes : 0;
  return absl::StrCat("see ", path, ", which ends:\n", text->substr(begin));
}

}  // namespace slmmesh
