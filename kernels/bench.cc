// kernels-bench: how near the kernels come to what the machine can do. Every sample is paired with a probe run just
// after it; the table shows the median figure and the median of the ratios.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/bench_probes.h"
#include "kernels/cpu/thread_pool.h"

namespace slmmesh::kernels {
namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  int threads = 0;
  std::string isa;  // empty: all but the reference
  int samples = 9;
  std::string filter;  // figures whose name holds it
};

struct NamedFormat {
  const char* name;
  WeightFormat format;
};
const NamedFormat kFormats[] = {
    {"bf16", WeightType::kBFloat16},
    {"fp32", WeightType::kFloat32},
    {"int8 a row", {WeightType::kInt8, 0, ScaleType::kFloat32, false}},
    {"int8 groups of 128", {WeightType::kInt8, 128, ScaleType::kFloat16, false}},
    {"int8 groups of 32", {WeightType::kInt8, 32, ScaleType::kFloat16, false}},  // GGUF's Q8_0
    {"int4 groups of 128", {WeightType::kInt4, 128, ScaleType::kFloat16, false}},
    {"int4 groups of 32", {WeightType::kInt4, 32, ScaleType::kFloat16, false}},         // Q4_0
    {"int4 groups of 32, minima", {WeightType::kInt4, 32, ScaleType::kFloat16, true}},  // Q4_1
};

double Seconds(const std::function<void()>& work) {
  // The pool that ran last still spins: give it time to park.
  for (const auto until = Clock::now() + std::chrono::microseconds(300); Clock::now() < until;) {
  }
  const auto start = Clock::now();
  work();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double Quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(q * static_cast<double>(values.size() - 1))];
}

struct Pairs {
  std::vector<double> figures, ratios;
  void Add(double figure, double probe) {
    figures.push_back(figure);
    ratios.push_back(figure / probe);
  }
  void Print(const char* name, const char* unit) const {
    std::printf("  %-52s %9.1f %-8s %5.1f %% of the probe\n", name, Quantile(figures, 0.5), unit,
                100.0 * Quantile(ratios, 0.5));
    std::fflush(stdout);
  }
};

class Bench {
 public:
  Bench(Isa isa, const Options& options)
      : isa_(isa),
        samples_(options.samples),
        filter_(options.filter),
        backend_(CreateCpuBackend({.threads = options.threads, .automatic_isa = false, .isa = isa})),
        probe_pool_(options.threads > 0 ? options.threads : ThreadPool::AvailableCpus()) {}

  ~Bench() { backend_->Free(arena_); }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  void Run() {
    std::printf("%s\n", backend_->Describe().c_str());
    for (const NamedFormat& format : kFormats) {
      for (const int64_t m : {1, 4, 8, 16, 32}) Decode(format, m);
      Prefill(format);
    }
    for (const KvType type : {KvType::kBFloat16, KvType::kInt8}) {
      for (const int64_t group : {1, 4}) AttentionDecode(type, 32, 2048, 1, group);
      AttentionDecode(type, 1, 32768, 1, 4);
      AttentionDecode(type, 1, 32768, 6, 4);
      AttentionPrefill(type, 9, 3, 64, 2048);
      AttentionPrefill(type, 32, 8, 64, 512);
      AttentionPrefill(type, 32, 8, 64, 4096);
      AttentionPrefill(type, 16, 8, 128, 2048);
    }
  }

 private:
  bool Wants(const std::string& name) const { return name.find(filter_) != std::string::npos; }

  double ReadGigabytes(const void* data, size_t bytes) {
    const size_t chunk = size_t{64} << 10;
    const double seconds = Seconds([&] {
      probe_pool_.For(static_cast<int64_t>(bytes / chunk), [&](int64_t i, int) {
        sink_ = ReadBytes(static_cast<const char*>(data) + static_cast<size_t>(i) * chunk, chunk);
      });
    });
    return static_cast<double>(bytes) / seconds * 1e-9;
  }

  double PeakGigaflops(WeightType type) {
    std::vector<double> operations(static_cast<size_t>(probe_pool_.threads()));
    const double seconds = Seconds([&] {
      probe_pool_.For(probe_pool_.threads(),
                      [&](int64_t i, int) { operations[static_cast<size_t>(i)] = RunPeakLoop(isa_, type, 2'000'000); });
    });
    double sum = 0.0;
    for (const double o : operations) sum += o;
    return sum / seconds * 1e-9;
  }

  void MatMul(const WeightFormat& format, const void* weights, int64_t m, int64_t n, int64_t k) {
    const int64_t leaves[] = {0, k};
    x_.resize(static_cast<size_t>(m * k), 0.5f);
    y_.resize(static_cast<size_t>(m * n));
    backend_->MatMul({x_.data(), k, weights, format, nullptr, y_.data(), n, m, n, k, leaves, 1});
  }

  // Walks an arena far larger than the caches.
  void Decode(const NamedFormat& format, int64_t m) {
    const std::string name = std::string(format.name) + " matmul, M = " + std::to_string(m);
    if (!Wants(name)) return;
    const int64_t n = 2048, k = 2048;
    const size_t matrix = backend_->PackedBytes(format.format, n, k), count = (size_t{256} << 20) / matrix;
    char* arena = Arena(matrix * count);
    Pairs pairs;
    for (int sample = 0; sample < samples_; ++sample) {
      const double seconds = Seconds([&] {
        for (size_t i = 0; i < count; ++i) MatMul(format.format, arena + i * matrix, m, n, k);
      });
      pairs.Add(static_cast<double>(matrix * count) / seconds * 1e-9, ReadGigabytes(arena, matrix * count));
    }
    pairs.Print(name.c_str(), "GB/s");
  }

  void Prefill(const NamedFormat& format) {
    const std::string name = std::string(format.name) + " matmul, M = 512";
    if (!Wants(name)) return;
    const int64_t m = 512, n = 2048, k = 2048;
    char* arena = Arena(backend_->PackedBytes(format.format, n, k));
    Pairs pairs;
    for (int sample = 0; sample < samples_; ++sample) {
      const double seconds = Seconds([&] {
        for (int i = 0; i < 4; ++i) MatMul(format.format, arena, m, n, k);
      });
      pairs.Add(4.0 * 2.0 * static_cast<double>(m * n * k) / seconds * 1e-9, PeakGigaflops(format.format.type));
    }
    pairs.Print(name.c_str(), "GOP/s");
  }

  struct Sequences {
    std::vector<uint32_t> query_start, blocks, block_start, positions;
    SequenceLayout layout() const {
      return {static_cast<int64_t>(query_start.size()) - 1,
              static_cast<int64_t>(positions.size()),
              query_start.data(),
              blocks.data(),
              block_start.data(),
              positions.data()};
    }
  };

  // `count` sequences, the last `queries` tokens of `length` asked. A cache of zeros serves: nothing depends on values.
  static Sequences MakeSequences(uint32_t count, uint32_t length, uint32_t queries, uint32_t block_size) {
    Sequences s = {{0}, {}, {0}, {}};
    for (uint32_t i = 0; i < count; ++i) {
      for (uint32_t b = 0; b < length / block_size; ++b) s.blocks.push_back(static_cast<uint32_t>(s.blocks.size()));
      for (uint32_t t = length - queries; t < length; ++t) s.positions.push_back(t);
      s.query_start.push_back(static_cast<uint32_t>(s.positions.size()));
      s.block_start.push_back(static_cast<uint32_t>(s.blocks.size()));
    }
    return s;
  }

  double AttentionSeconds(const Sequences& sequences, KvCache cache, int64_t q_heads) {
    const int64_t tokens = static_cast<int64_t>(sequences.positions.size());
    x_.resize(static_cast<size_t>(tokens * (q_heads + 2 * cache.num_kv_heads) * cache.head_dim), 0.5f);
    y_.resize(static_cast<size_t>(tokens * q_heads * cache.head_dim));
    return Seconds([&] { backend_->Attention({x_.data(), q_heads, 0.125f, 0, sequences.layout(), cache, y_.data()}); });
  }

  static const char* Name(KvType type) {
    return type == KvType::kFloat32 ? "fp32" : type == KvType::kBFloat16 ? "bf16" : "int8";
  }

  void AttentionDecode(KvType type, uint32_t count, uint32_t length, uint32_t queries, int64_t group) {
    const std::string name = std::string(Name(type)) + " attention decode, " + std::to_string(count) + " x " +
                             std::to_string(queries) + " of " + std::to_string(length) + ", group " +
                             std::to_string(group);
    if (!Wants(name)) return;
    const Sequences sequences = MakeSequences(count, length, queries, 64);
    KvCache cache = {nullptr, type, static_cast<int64_t>(sequences.blocks.size()), 64, 8, 128};
    const size_t bytes =
        sequences.blocks.size() * backend_->KvBlockBytes(cache.type, 64, cache.num_kv_heads, cache.head_dim);
    cache.base = Arena(bytes);
    Pairs pairs;
    for (int sample = 0; sample < samples_; ++sample) {
      const double seconds = AttentionSeconds(sequences, cache, group * cache.num_kv_heads);
      pairs.Add(static_cast<double>(bytes) / seconds * 1e-9, ReadGigabytes(cache.base, bytes));
    }
    pairs.Print(name.c_str(), "GB/s");
  }

  void AttentionPrefill(KvType type, int64_t q_heads, int64_t kv_heads, int64_t head_dim, uint32_t length) {
    const std::string name = std::string(Name(type)) + " attention prefill, " + std::to_string(length) + " tokens, " +
                             std::to_string(q_heads) + "/" + std::to_string(kv_heads) + " x " +
                             std::to_string(head_dim);
    if (!Wants(name)) return;
    const Sequences sequences = MakeSequences(1, length, length, 64);
    KvCache cache = {nullptr, type, static_cast<int64_t>(sequences.blocks.size()), 64, kv_heads, head_dim};
    cache.base = Arena(sequences.blocks.size() * backend_->KvBlockBytes(type, 64, kv_heads, head_dim));
    const WeightType peak = type == KvType::kFloat32 ? WeightType::kFloat32 : WeightType::kBFloat16;
    Pairs pairs;
    for (int sample = 0; sample < samples_; ++sample) {
      const double operations =
          4.0 * static_cast<double>(q_heads * head_dim) * static_cast<double>(length) * (length + 1) / 2;
      pairs.Add(operations / AttentionSeconds(sequences, cache, q_heads) * 1e-9, PeakGigaflops(peak));
    }
    pairs.Print(name.c_str(), "GFLOP/s");
  }

  // At least `bytes` of zeros that lie in memory of their own.
  char* Arena(size_t bytes) {
    if (bytes > arena_bytes_) {
      backend_->Free(arena_);
      arena_ = backend_->Allocate(bytes);
      if (arena_ == nullptr) std::abort();
      std::memset(arena_, 0, bytes);
      arena_bytes_ = bytes;
    }
    return static_cast<char*>(arena_);
  }

  const Isa isa_;
  const int samples_;
  const std::string filter_;
  const std::unique_ptr<Backend> backend_;
  ThreadPool probe_pool_;
  void* arena_ = nullptr;
  size_t arena_bytes_ = 0;
  std::vector<float> x_, y_;
  static inline volatile uint64_t sink_;
};

void BarrierLatency(int threads) {
  ThreadPool pool(threads);
  std::vector<double> microseconds;
  for (int i = 0; i < 20000; ++i) {
    const auto start = Clock::now();
    pool.For(threads, [](int64_t, int) {});
    microseconds.push_back(std::chrono::duration<double, std::micro>(Clock::now() - start).count());
  }
  std::printf("loop over %d threads: p50 %.2f us, p99 %.2f us\n", threads, Quantile(microseconds, 0.5),
              Quantile(microseconds, 0.99));
}

bool Parse(int argc, char** argv, Options& options) {
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const size_t equals = argument.find('=');
    const std::string name = argument.substr(0, equals);
    const std::string value = equals == std::string::npos ? "" : argument.substr(equals + 1);
    if (name == "--threads" && std::atoi(value.c_str()) > 0) {
      options.threads = std::atoi(value.c_str());
    } else if (name == "--samples" && std::atoi(value.c_str()) > 0) {
      options.samples = std::atoi(value.c_str());
    } else if (name == "--filter") {
      options.filter = value;
    } else if (name == "--isa" && !value.empty()) {
      options.isa = value;
    } else {
      std::printf(
          "kernels-bench [--threads=N] [--isa=NAME] [--samples=N] [--filter=TEXT]\n"
          "  --threads  default: the CPUs this process may run on\n"
          "  --isa      reference, avx2, avx512, avx512vnni or avx512bf16; default: every one this machine has, but "
          "for\n"
          "             the reference\n"
          "  --samples  per figure, default 9\n"
          "  --filter   only figures whose name holds this text\n");
      if (argument != "--help") std::fprintf(stderr, "unknown or empty argument %s\n", argument.c_str());
      std::exit(argument == "--help" ? 0 : 2);
    }
  }
  return true;
}

}  // namespace
}  // namespace slmmesh::kernels

int main(int argc, char** argv) {
  using namespace slmmesh::kernels;
  Options options;
  Parse(argc, argv, options);
  bool any = false;
  for (const Isa isa : SupportedIsas()) {
    if (options.isa.empty() ? isa == Isa::kReference : options.isa != IsaName(isa)) continue;
    any = true;
    Bench(isa, options).Run();
  }
  if (!any) {
    std::fprintf(stderr, "this machine does not have --isa=%s\n", options.isa.c_str());
    return 2;
  }
  BarrierLatency(options.threads > 0 ? options.threads : ThreadPool::AvailableCpus());
}
