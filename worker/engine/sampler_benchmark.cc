// Microseconds that the choice of one token takes, by vocabulary and parameters. Prints a table.
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <random>
#include <vector>

#include "worker/engine/logprobs.h"
#include "worker/engine/sampler.h"

namespace slmmesh {
namespace {

constexpr int kRows = 32;    // as many rows as a full step, so that the caches are as cold as they would be
constexpr int kRounds = 20;  // the best round counts

struct Setting {
  const char* name;
  float temperature, top_p, min_p;
  uint32_t top_k;
  float repetition_penalty;
};

// Of this thread alone: what else runs on the machine does not count.
double CpuMicroseconds() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_nsec) * 1e-3;
}

template <typename Work>
double BestMicrosecondsPerRow(const std::vector<std::vector<float>>& rows, const Work& work) {
  double best = 1e9, sum = 0;
  for (int round = 0; round < kRounds; ++round) {
    const double start = CpuMicroseconds();
    for (const std::vector<float>& row : rows) sum += work(row);
    best = std::min(best, (CpuMicroseconds() - start) / kRows);
  }
  return sum == 0 ? 0 : best;  // a use of the results keeps the calls alive
}

double SampleMicroseconds(const std::vector<std::vector<float>>& rows, const v1::SamplingParams& params) {
  Sampler sampler;
  SamplingState state(params, {});
  for (uint32_t token = 0; token < 500; ++token) state.AddPromptToken(token * 7);
  return BestMicrosecondsPerRow(
      rows, [&](const std::vector<float>& row) { return static_cast<double>(sampler.Sample(row, state).value_or(0)); });
}

double LogprobMicroseconds(const std::vector<std::vector<float>>& rows) {
  return BestMicrosecondsPerRow(
      rows, [](const std::vector<float>& row) { return static_cast<double>(RowLogprobs(row).Top(20)[0].logprob); });
}

void Benchmark(int vocab_size, float spread) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, spread);
  std::vector<std::vector<float>> rows(kRows, std::vector<float>(static_cast<size_t>(vocab_size)));
  for (auto& row : rows) {
    for (float& logit : row) logit = normal(random);
  }
  const Setting settings[] = {
      {"greedy", 0, 1, 0, 0, 1},         {"greedy, repetition penalty", 0, 1, 0, 0, 1.1f},
      {"temperature", 1, 1, 0, 0, 1},    {"top_p 0.9", 1, 0.9f, 0, 0, 1},
      {"top_k 50", 1, 1, 0, 50, 1},      {"top_k 50, top_p 0.9", 1, 0.9f, 0, 50, 1},
      {"min_p 0.05", 1, 1, 0.05f, 0, 1},
  };
  for (const Setting& setting : settings) {
    v1::SamplingParams params;
    params.set_temperature(setting.temperature);
    params.set_top_p(setting.top_p);
    params.set_top_k(setting.top_k);
    params.set_min_p(setting.min_p);
    params.set_repetition_penalty(setting.repetition_penalty);
    std::printf("%8d  %6.1f  %-28s %8.1f µs/row\n", vocab_size, static_cast<double>(spread), setting.name,
                SampleMicroseconds(rows, params));
  }
  std::printf("%8d  %6.1f  %-28s %8.1f µs/row\n", vocab_size, static_cast<double>(spread), "20 top logprobs",
              LogprobMicroseconds(rows));
}

}  // namespace
}  // namespace slmmesh

int main() {
  std::printf("   vocab  spread  setting\n");
  for (int vocab_size : {49152, 151936}) {
    for (float spread : {3.0f, 0.5f})
      slmmesh::Benchmark(vocab_size, spread);  // as a model's; nearly flat, the worst case
  }
}
