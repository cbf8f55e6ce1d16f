// Keeps the processes of one mesh running: starts them, restarts what dies (with backoff), stops them in order.
// Everything here happens on the thread that called Create: children are bound to it (PR_SET_PDEATHSIG).
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "cli/process_plan.h"
#include "cli/run_folder.h"

namespace slmmesh {

class Supervisor {
 public:
  Supervisor(std::string binary_folder, std::string run_folder, std::vector<ProcessSpec> plan, MeshState state);
  ~Supervisor();  // stops

  // Starts the head, waits for its address (bounded), then starts the rest.
  absl::Status Start();
  // Reaps what died, restarts it once its backoff has passed. Call it often. UNAVAILABLE, naming the process and its
  // log, when one dies again and again before the mesh was ever ready (`ready` false): it will not get better.
  absl::Status Tick(bool ready);
  // SIGTERM to routers, then workers, then the head; SIGKILL to what is left after `grace`.
  void Stop(absl::Duration grace);

  void SetPhase(const std::string& phase);
  const MeshState& state() const { return state_; }
  // The last lines of a process's log, for error messages.
  std::string LogTail(const std::string& process) const;

 private:
  struct Child {
    ProcessSpec spec;
    int pid = 0;
    int restarts = 0;
    int quick_deaths = 0;
    absl::Time started = absl::InfinitePast();
    absl::Time restart_at = absl::InfinitePast();
  };

  absl::Status StartChild(Child& child);
  absl::Status WaitForHead();
  void Reap();
  void OnDeath(Child& child, int wait_status);
  void SignalRole(Role role, int signal, absl::Duration grace);
  void SaveState();

  const std::string binary_folder_;
  const std::string run_folder_;
  std::vector<Child> children_;
  MeshState state_;
};

}  // namespace slmmesh
