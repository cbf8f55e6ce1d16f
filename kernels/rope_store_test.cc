// How a step's RopeStore is cut into tasks: positions 2 i and 2 i + 1 share words of the cache, so one thread stores
// both.
#include <atomic>
#include <set>
#include <thread>

#include "kernels/test_util.h"

namespace slmmesh::kernels {
namespace {

constexpr int64_t kElementsPerTask = 8 * 1024;  // as cpu_backend.cc cuts
constexpr int64_t kHeadDim = 2;

// What the kernel below, a plain function, saw of a step that has as many tasks as the pool has threads. A thread that
// stored its first token goes on once every thread has one: each then has one task, and who stored a token tells its
// task.
struct Step {
  Step(int number, int threads, int64_t tokens)
      : number(number), threads(threads), thread(tokens), order(tokens), sequence(tokens) {}

  const int number;  // from 1
  const int threads;
  std::atomic<int> arrived = 0, stored = 0;
  std::vector<std::thread::id> thread;  // of a token
  std::vector<int> order;
  std::vector<int64_t> sequence;
};

Step* current_step = nullptr;

void Watch(const RopeStoreArgs& /*args*/, int64_t sequence, int64_t token) {
  static thread_local int last_step = 0;
  Step& step = *current_step;
  if (last_step != step.number) {
    last_step = step.number;
    ++step.arrived;
    while (step.arrived.load() < step.threads) std::this_thread::yield();
  }
  step.thread[token] = std::this_thread::get_id();
  step.order[token] = step.stored++;
  step.sequence[token] = sequence;
}

// Sequences of a step: where each begins and how many tokens it has.
struct Chunk {
  uint32_t first_position, tokens;
};

class RopeStoreTest : public testing::TestWithParam<int> {
 protected:
  RopeStoreTest() {
    kernels_.rope_store = Watch;
    backend_ = CreateCpuBackend(kernels_, GetParam());
  }

  void Check(const std::vector<Chunk>& chunks) {
    std::vector<uint32_t> query_start = {0}, positions;
    std::string description;
    for (const Chunk& chunk : chunks) {
      for (uint32_t t = 0; t < chunk.tokens; ++t) positions.push_back(chunk.first_position + t);
      query_start.push_back(static_cast<uint32_t>(positions.size()));
      description += std::to_string(chunk.tokens) + " tokens from " + std::to_string(chunk.first_position) + ", ";
    }
    SCOPED_TRACE(description);
    const auto tokens = static_cast<int64_t>(positions.size());
    ASSERT_GE(tokens, 3 * GetParam()) << "or a task may have none";
    const SequenceLayout layout = {
        static_cast<int64_t>(chunks.size()), tokens, query_start.data(), nullptr, nullptr, positions.data()};
    const KvCache cache = {nullptr, KvType::kBFloat16, 1, kAttentionChunk, 1, kHeadDim};
    const int64_t heads = GetParam() * kElementsPerTask / tokens / kHeadDim;
    static int steps = 0;
    Step step(++steps, GetParam(), tokens);
    current_step = &step;
    backend_->RopeStore({nullptr, heads - 2, kHeadDim, nullptr, nullptr, nullptr, nullptr, 0.0f, layout, cache});
    ASSERT_EQ(step.stored, tokens);
    EXPECT_EQ(std::set(step.thread.begin(), step.thread.end()).size(), static_cast<size_t>(GetParam()));
    for (size_t s = 0; s < chunks.size(); ++s) {
      for (uint32_t token = query_start[s]; token < query_start[s + 1]; ++token) {
        EXPECT_EQ(step.sequence[token], static_cast<int64_t>(s)) << "token " << token;
        if (token == query_start[s] || positions[token] % 2 == 0) continue;
        EXPECT_EQ(step.thread[token], step.thread[token - 1]) << "positions " << positions[token - 1] << " and next";
        EXPECT_LT(step.order[token - 1], step.order[token]);
      }
    }
  }

 private:
  KernelTable kernels_ = ReferenceKernels();
  std::unique_ptr<Backend> backend_;
};

TEST_P(RopeStoreTest, ATaskHasBothPositionsOfAWord) {
  const auto threads = static_cast<uint32_t>(GetParam());
  for (uint32_t tokens = 3 * threads; tokens <= 6 * threads; ++tokens) {
    for (const uint32_t first : {0u, 1u, 6u, 15u}) Check({{first, tokens}});
  }
}

TEST_P(RopeStoreTest, InEverySequenceOfTheStep) {
  Random random(31);
  SCOPED_TRACE(random.Describe());
  for (int round = 0; round < 20; ++round) {
    std::vector<Chunk> chunks;
    for (int64_t tokens = 0; tokens < 3 * GetParam() + 3; tokens += chunks.back().tokens) {
      const int64_t most = random.Between(0, 1) == 0 ? 1 : 9;  // decodes beside chunks of prompts
      chunks.push_back({static_cast<uint32_t>(random.Between(0, 40)), static_cast<uint32_t>(random.Between(1, most))});
    }
    Check(chunks);
  }
}

INSTANTIATE_TEST_SUITE_P(Threads, RopeStoreTest, testing::Values(2, 3, 4),
                         [](const auto& info) { return std::to_string(info.param); });

}  // namespace
}  // namespace slmmesh::kernels
