// Tokens a second of one model on this machine, alone on one rank: model-bench PATH [THREADS].

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "common/status.h"
#include "worker/collective/local_communicator.h"
#include "worker/model/model.h"

namespace slmmesh {
namespace {

constexpr uint32_t kBlockSize = 16;
constexpr uint32_t kPrompt = 512;
constexpr uint32_t kContext = 128;  // positions already there when a decoding sequence is timed
constexpr uint32_t kMaxSequences = 32;
constexpr int kRounds = 5;

// `sequences` of them, each with `count` tokens from position `first`, and logits of the last token of each.
StepBatch MakeStep(uint32_t sequences, uint32_t first, uint32_t count, int64_t vocab_size) {
  StepBatch batch;
  batch.query_start = batch.block_start = {0};
  const uint32_t blocks = (first + count + kBlockSize - 1) / kBlockSize;
  for (uint32_t s = 0; s < sequences; ++s) {
    for (uint32_t i = 0; i < count; ++i) {
      batch.tokens.push_back(static_cast<uint32_t>((s * 7919 + (first + i) * 104729) % vocab_size));
      batch.positions.push_back(first + i);
    }
    for (uint32_t block = 0; block < blocks; ++block) batch.block_table.push_back(s * blocks + block);
    batch.query_start.push_back(static_cast<uint32_t>(batch.tokens.size()));
    batch.block_start.push_back(static_cast<uint32_t>(batch.block_table.size()));
    batch.logit_rows.push_back(static_cast<uint32_t>(batch.tokens.size()) - 1);
  }
  return batch;
}

double Seconds(std::chrono::steady_clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

// The median of a few rounds, after one that warms up.
absl::StatusOr<double> TimeStep(Model& model, Communicator& communicator, const StepBatch& batch, int repeats) {
  std::vector<double> seconds;
  for (int round = 0; round <= kRounds; ++round) {
    const auto start = std::chrono::steady_clock::now();
    for (int repeat = 0; repeat < repeats; ++repeat) {
      absl::Span<const float> logits;
      RETURN_IF_ERROR(model.Forward(batch, communicator, &logits));
    }
    if (round > 0) seconds.push_back(Seconds(std::chrono::steady_clock::now() - start) / repeats);
  }
  std::sort(seconds.begin(), seconds.end());
  return seconds[kRounds / 2];
}

absl::Status Run(const char* path, int threads) {
  ASSIGN_OR_RETURN(std::shared_ptr<const Checkpoint> checkpoint, Checkpoint::Open(path));
  const std::unique_ptr<kernels::Backend> backend = kernels::CreateCpuBackend({.threads = threads});
  const auto start = std::chrono::steady_clock::now();
  ModelOptions options;
  options.max_model_len = kPrompt;
  ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, Model::Load(checkpoint, backend.get(), options));
  std::printf("%s, bf16, loaded in %.2f s, %.0f MB of weights\n", backend->Describe().c_str(),
              Seconds(std::chrono::steady_clock::now() - start), static_cast<double>(model->weight_bytes()) / 1e6);
  KvCacheOptions cache;
  cache.block_size = kBlockSize;
  cache.num_blocks = kMaxSequences * (kPrompt / kBlockSize);
  RETURN_IF_ERROR(model->ResetKvCache(cache));

  const std::unique_ptr<Communicator> communicator = CreateLocalCommunicator();
  const int64_t vocab_size = model->config().vocab_size;
  std::printf("%-24s %10s %12s\n", "step", "ms", "tokens/s");
  const auto print = [](const char* name, uint32_t number, uint32_t tokens, double seconds) {
    std::printf("%-20s %3u %10.2f %12.1f\n", name, number, seconds * 1e3, tokens / seconds);
  };
  ASSIGN_OR_RETURN(const double prefill, TimeStep(*model, *communicator, MakeStep(1, 0, kPrompt, vocab_size), 1));
  print("prefill, tokens", kPrompt, kPrompt, prefill);
  for (const uint32_t sequences : {1u, 8u, kMaxSequences}) {
    ASSIGN_OR_RETURN(const double decode,
                     TimeStep(*model, *communicator, MakeStep(sequences, kContext, 1, vocab_size), 20));
    print("decode, sequences", sequences, sequences, decode);
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace slmmesh

int main(int argc, char** argv) {
  if (argc < 2 || argc > 3) {
    std::fprintf(stderr, "usage: %s PATH [THREADS]\n", argv[0]);
    return 2;
  }
  const absl::Status status = slmmesh::Run(argv[1], argc == 3 ? std::atoi(argv[2]) : 0);
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return 1;
}
