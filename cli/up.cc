#include "cli/up.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "cli/head_client.h"
#include "cli/progress.h"
#include "cli/supervisor.h"
#include "common/files.h"
#include "common/status.h"
#include "proto/manifest.h"

namespace slmmesh {
namespace {

constexpr int64_t kCertificateSeconds = 365 * 24 * 3600;  // the CA is thrown away with the mesh
constexpr absl::Duration kPollTable = absl::Milliseconds(100);
constexpr absl::Duration kPollChildren = absl::Milliseconds(100);
constexpr absl::Duration kStopGrace = absl::Seconds(10);

int UsableCores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

std::string BinaryFolder() { return std::filesystem::read_symlink("/proc/self/exe").parent_path().string(); }

// A stop signal that came, or 0; waits up to `timeout` for one.
int StopSignalWithin(absl::Duration timeout) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  const timespec limit = absl::ToTimespec(timeout);
  const int signal = sigtimedwait(&signals, nullptr, &limit);
  return signal > 0 ? signal : 0;
}

// Progress on a terminal rewrites one line; elsewhere each change is a line of its own.
class ProgressPrinter {
 public:
  void Show(const std::string& line) {
    if (line == last_) return;
    last_ = line;
    if (isatty(STDOUT_FILENO)) {
      std::cout << "\r\033[K" << line << std::flush;
    } else {
      std::cout << line << std::endl;
    }
  }
  void End() {
    if (isatty(STDOUT_FILENO)) std::cout << "\r\033[K" << std::flush;
  }

 private:
  std::string last_;
};

absl::Status IssueCertificates(const std::string& folder, const std::string& cluster,
                               const std::vector<ProcessSpec>& plan) {
  ASSIGN_OR_RETURN(auto authority, CertificateAuthority::Create(cluster));
  for (const ProcessSpec& process : plan) {
    RETURN_IF_ERROR(
        authority->IssueInto(TlsFolder(folder, process.name), process.role, process.name, kCertificateSeconds));
  }
  RETURN_IF_ERROR(authority->IssueInto(TlsFolder(folder, "admin"), Role::kAdmin, "admin", kCertificateSeconds));
  return authority->IssueInto(TlsFolder(folder, "monitor"), Role::kMonitor, "monitor", kCertificateSeconds);
}

// What an earlier mesh of this name left: addresses would be taken for new ones, logs for this run's.
void ClearLeftovers(const std::string& folder) {
  std::error_code ignored;
  for (const char* name : {"/addresses", "/logs", "/tls"}) {
    for (const auto& entry : std::filesystem::directory_iterator(folder + name, ignored)) {
      std::filesystem::remove_all(entry.path(), ignored);
    }
  }
}

absl::Status CheckModelPath(const std::string& path) {
  if (std::filesystem::exists(path)) return absl::OkStatus();
  return absl::NotFoundError(absl::StrCat("spec.model.path: ", path,
                                          " does not exist; `make model` fetches the model of ",
                                          "deploy/examples/local.yaml, or write the path of your own"));
}

size_t CountWorkers(const std::vector<ProcessSpec>& plan) {
  size_t count = 0;
  for (const ProcessSpec& process : plan) count += process.role == Role::kWorker ? 1 : 0;
  return count;
}

class MeshRun {
 public:
  MeshRun(const UpOptions& options, const v1::InferenceCluster& cluster, std::string folder,
          std::vector<ProcessSpec> plan)
      : options_(options),
        cluster_(cluster),
        folder_(std::move(folder)),
        workers_(CountWorkers(plan)),
        supervisor_(BinaryFolder(), folder_, std::move(plan), FirstState(options, cluster)) {}

  // OK with *stopped when a signal came first.
  absl::Status StartAndWait(bool* stopped) {
    RETURN_IF_ERROR(supervisor_.Start());
    HeadClient head(folder_, cluster_.metadata().name(), supervisor_.state().head);
    const absl::Time deadline = absl::Now() + absl::Seconds(options_.ready_timeout_seconds);
    std::string last_line = "no worker has reached the head yet";
    while (absl::Now() < deadline) {
      RETURN_IF_ERROR(supervisor_.Tick(/*ready=*/false));
      if (auto table = head.GetTable(absl::Seconds(2)); table.ok()) {
        if (IsRoutable(*table)) return Ready();
        last_line = ProgressLine(*table, workers_);
        progress_.Show(last_line);
        if (std::string failure = FirstFailure(*table); !failure.empty()) last_line = failure;
      }
      if (StopSignalWithin(kPollTable) != 0) {
        *stopped = true;
        return absl::OkStatus();
      }
    }
    return absl::DeadlineExceededError(absl::StrCat("the mesh was not ready within ", options_.ready_timeout_seconds,
                                                    " s: ", last_line, "; logs are in ", folder_, "/logs"));
  }

  void ServeUntilStopped() {
    while (StopSignalWithin(kPollChildren) == 0) {
      if (absl::Status status = supervisor_.Tick(/*ready=*/true); !status.ok()) std::cerr << status.message() << "\n";
    }
  }

  void Stop() {
    supervisor_.SetPhase("stopping");
    supervisor_.Stop(kStopGrace);
  }

 private:
  static MeshState FirstState(const UpOptions& options, const v1::InferenceCluster& cluster) {
    MeshState state;
    state.cluster = cluster.metadata().name();
    state.manifest = std::filesystem::absolute(options.manifest).string();
    state.phase = "starting";
    state.model = cluster.spec().model().served_name();
    state.supervisor_pid = getpid();
    return state;
  }

  absl::Status Ready() {
    progress_.End();
    supervisor_.SetPhase("ready");
    const bool tls = cluster_.spec().router_spec().has_tls_cert_file();
    const std::string url = absl::StrCat(tls ? "https" : "http", "://", supervisor_.state().http);
    const std::string key =
        cluster_.spec().router_spec().has_api_keys_file() ? " -H 'authorization: Bearer YOUR_KEY'" : "";
    std::cout << absl::StrFormat(
                     "ready: %s serves at %s\n\n"
                     "  curl %s/v1/chat/completions%s -H 'content-type: application/json' -d '{\"model\": \"%s\", "
                     "\"messages\": "
                     "[{\"role\": \"user\", \"content\": \"What is the capital of France?\"}]}'\n\n",
                     supervisor_.state().model, url, url, key, supervisor_.state().model)
              << std::flush;
    return absl::OkStatus();
  }

  const UpOptions& options_;
  const v1::InferenceCluster& cluster_;
  const std::string folder_;
  const size_t workers_;
  Supervisor supervisor_;
  ProgressPrinter progress_;
};

absl::Status RunMesh(const UpOptions& options, const v1::InferenceCluster& cluster, const std::string& folder,
                     const std::vector<ProcessSpec>& plan) {
  ASSIGN_OR_RETURN(RunLock lock, RunLock::Take(folder));
  ClearLeftovers(folder);
  RETURN_IF_ERROR(IssueCertificates(folder, cluster.metadata().name(), plan));
  MeshRun run(options, cluster, folder, plan);
  bool stopped = false;
  RETURN_IF_ERROR(run.StartAndWait(&stopped));
  if (!stopped) {
    if (options.detach) {
      std::cout << "stop it with: mesh down\n" << std::flush;
      // The parent waits for the end of this pipe: from here on nobody reads.
      const int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
      for (int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) dup2(nothing, fd);
      close(nothing);
    } else {
      std::cout << "Ctrl-C stops it; mesh status, mesh chat and mesh logs work from another terminal.\n" << std::flush;
    }
    run.ServeUntilStopped();
  }
  run.Stop();
  if (!options.detach) std::cout << "stopped\n";
  return absl::OkStatus();
}

// The child becomes the supervisor in a session of its own; the parent relays what it prints until the mesh is ready.
absl::Status Detach(const UpOptions& options, const v1::InferenceCluster& cluster, const std::string& folder,
                    const std::vector<ProcessSpec>& plan) {
  int pipe_fds[2];
  if (pipe2(pipe_fds, O_CLOEXEC) != 0) return absl::UnavailableError("cannot make a pipe");
  const int child = fork();
  if (child < 0) return absl::UnavailableError("cannot fork");
  if (child == 0) {
    setsid();
    dup2(pipe_fds[1], STDOUT_FILENO);
    dup2(pipe_fds[1], STDERR_FILENO);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    const absl::Status status = RunMesh(options, cluster, folder, plan);
    if (!status.ok()) std::cerr << "mesh up: " << status.message() << std::endl;
    _exit(status.ok() ? 0 : 1);
  }
  close(pipe_fds[1]);
  char buffer[4096];
  for (ssize_t count; (count = read(pipe_fds[0], buffer, sizeof buffer)) > 0;) {
    std::cout.write(buffer, count).flush();
  }
  close(pipe_fds[0]);
  const auto state = ReadState(folder);
  if (state.ok() && state->phase == "ready" && state->supervisor_pid == child && kill(child, 0) == 0) {
    return absl::OkStatus();
  }
  waitpid(child, nullptr, 0);
  return absl::UnavailableError("the mesh did not start");
}

}  // namespace

absl::Status Up(const UpOptions& options) {
  ASSIGN_OR_RETURN(const v1::InferenceCluster cluster, LoadManifest(options.manifest));
  ASSIGN_OR_RETURN(const std::string folder, CreateRunFolder(cluster.metadata().name()));
  PlanContext context;
  context.manifest_folder = std::filesystem::absolute(options.manifest).parent_path().string();
  context.run_folder = folder;
  context.cores = UsableCores();
  context.isa = options.isa;
  ASSIGN_OR_RETURN(const std::vector<ProcessSpec> plan, PlanProcesses(cluster, context));
  const std::filesystem::path model = cluster.spec().model().path();
  RETURN_IF_ERROR(CheckModelPath((std::filesystem::path(context.manifest_folder) / model).string()));
  return options.detach ? Detach(options, cluster, folder, plan) : RunMesh(options, cluster, folder, plan);
}

}  // namespace slmmesh
