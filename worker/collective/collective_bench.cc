// All-reduce latency between two processes, p50 and p99, over shared memory and over TLS on loopback.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <vector>

#include "worker/collective/testing.h"

namespace slmmesh {
namespace {

using collective_testing::TestGroup;
using collective_testing::Transport;
using collective_testing::TransportName;

constexpr size_t kLengths[] = {4 << 10, 16 << 10, 64 << 10, 1 << 20};  // bytes

int RoundsFor(size_t bytes) { return bytes >= 1 << 20 ? 2000 : 20000; }

// Microseconds of each all-reduce, sorted; empty on failure. Both ranks run the same loop.
std::vector<double> Measure(Communicator& rank, size_t bytes) {
  std::vector<float> data(bytes / sizeof(float), 0.0f);
  std::vector<double> times;
  const int rounds = RoundsFor(bytes);
  for (int round = -rounds / 10; round < rounds; ++round) {
    const auto start = std::chrono::steady_clock::now();
    if (!rank.AllReduceSum(absl::MakeSpan(data), 3).ok()) return {};
    const std::chrono::duration<double, std::micro> taken = std::chrono::steady_clock::now() - start;
    if (round >= 0) times.push_back(taken.count());
  }
  std::sort(times.begin(), times.end());
  return times;
}

int Run(Transport transport) {
  const TestGroup group(transport, 2, absl::Seconds(30));
  const pid_t child = fork();
  const int own = child == 0 ? 1 : 0;
  auto rank = group.Connect(own);
  if (!rank.ok()) {
    std::fprintf(stderr, "%s\n", rank.status().ToString().c_str());
    return 1;
  }
  for (const size_t bytes : kLengths) {
    const std::vector<double> times = Measure(**rank, bytes);
    if (times.empty()) return 1;
    if (own != 0) continue;
    std::printf("%-4s %8zu bytes  p50 %8.2f us  p99 %8.2f us\n", TransportName(transport), bytes,
                times[times.size() / 2], times[times.size() * 99 / 100]);
  }
  if (own != 0) _exit(0);
  int status = 0;
  waitpid(child, &status, 0);
  return status == 0 ? 0 : 1;
}

}  // namespace
}  // namespace slmmesh

int main() {
  std::printf("all-reduce of two processes\n");
  return slmmesh::Run(slmmesh::Transport::kSharedMemory) | slmmesh::Run(slmmesh::Transport::kTcp);
}
