// RopeStore and Attention over a paged cache: what is stored against rotation in double, attention against a naive
// double oracle over what is stored, and bit for bit under any chunking of the prompt, block size, order of blocks,
// company, number of threads and stale data.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/cpu/kv_layout.h"
#include "kernels/test_util.h"

namespace slmmesh::kernels {
namespace {

struct Model {
  KvType kv_type;
  int64_t num_q_heads, num_kv_heads, head_dim, rotary_dim, window, max_position;
  bool norm;
  std::vector<float> cos, sin, q_norm, k_norm;
  int64_t width() const { return (num_q_heads + 2 * num_kv_heads) * head_dim; }
  float scale() const { return 1.0f / std::sqrt(static_cast<float>(head_dim)); }
};

Model RandomModel(Random& random, int64_t max_position = 200, int64_t head_dim = 0) {  // 0: a random one
  Model model;
  model.max_position = max_position;
  const int64_t head_dims[] = {32, 64, 80, 96, 128, 256, 34, 2};
  model.kv_type = static_cast<KvType>(random.Between(0, 2));
  model.num_kv_heads = random.Between(1, 3);
  model.num_q_heads = model.num_kv_heads * random.Between(1, 9);
  model.head_dim = head_dim > 0 ? head_dim : head_dims[random.Between(0, 7)];
  model.rotary_dim = random.Between(0, 3) == 0 ? model.head_dim / 4 * 2 : model.head_dim;
  model.window = random.Between(0, 1) == 0 ? 0 : random.Between(1, 70);
  model.norm = random.Between(0, 1) == 1;
  for (int64_t i = 0; i < max_position * model.rotary_dim / 2; ++i) {
    const double angle = static_cast<double>(random.Between(0, 6000)) / 1000.0;
    model.cos.push_back(static_cast<float>(std::cos(angle)));
    model.sin.push_back(static_cast<float>(std::sin(angle)));
  }
  model.q_norm = random.Normals(model.head_dim);
  model.k_norm = random.Normals(model.head_dim);
  return model;
}

std::string Describe(const Model& m) {
  const char* const types[] = {"fp32", "bf16", "int8"};
  return std::string(types[static_cast<int>(m.kv_type)]) + " cache, heads " + std::to_string(m.num_q_heads) + "/" +
         std::to_string(m.num_kv_heads) + ", head_dim " + std::to_string(m.head_dim) + ", rotary " +
         std::to_string(m.rotary_dim) + ", window " + std::to_string(m.window) + (m.norm ? ", norm" : "");
}

// Sequences that advance together step by step, as an engine would run them, over a cache that starts full of NaN.
class Steps {
 public:
  Steps(Backend& backend, const Model& model, std::vector<std::vector<float>> qkv, int64_t block_size, Random& random)
      : backend_(backend),
        model_(model),
        qkv_(std::move(qkv)),
        blocks_per_sequence_((model.max_position + block_size - 1) / block_size),
        cache_{nullptr,    model.kv_type,      static_cast<int64_t>(qkv_.size()) * blocks_per_sequence_ + 1,
               block_size, model.num_kv_heads, model.head_dim},
        memory_(backend, cache_.num_blocks * (BlockBytes() + kLargestGap)),
        blocks_(cache_.num_blocks - 1),
        done_(qkv_.size(), 0) {
    cache_.base = memory_.get();
    const int64_t gap = 64 * random.Between(0, kLargestGap / 64);
    if (gap > 0) cache_.block_stride = BlockBytes() + gap;
    // NaN in fp32, bf16 and the scales of int8
    std::memset(cache_.base, 0xff, cache_.num_blocks * (BlockBytes() + kLargestGap));
    std::iota(blocks_.begin(), blocks_.end(), 1u);
    random.Shuffle(blocks_);
    for (const auto& rows : qkv_) out_.emplace_back(rows.size() / model.width() * model.num_q_heads * model.head_dim);
  }

  int64_t Left(size_t s) const { return static_cast<int64_t>(qkv_[s].size()) / model_.width() - done_[s]; }

  // Stores the next counts[s] tokens of every sequence s, without attention of their own.
  void Store(const std::vector<int64_t>& counts) { Run(counts, false); }

  // Runs the next counts[s] tokens of every sequence s.
  void Run(const std::vector<int64_t>& counts, bool attend = true) {
    std::vector<uint32_t> query_start = {0}, block_start = {0}, block_table, positions;
    std::vector<float> qkv;
    for (size_t s = 0; s < qkv_.size(); ++s) {
      if (counts[s] == 0) continue;
      for (int64_t t = 0; t < counts[s]; ++t) positions.push_back(static_cast<uint32_t>(done_[s] + t));
      query_start.push_back(static_cast<uint32_t>(positions.size()));
      const auto first = blocks_.begin() + static_cast<int64_t>(s) * blocks_per_sequence_;
      block_table.insert(block_table.end(), first, first + blocks_per_sequence_);
      block_start.push_back(static_cast<uint32_t>(block_table.size()));
      const auto rows = qkv_[s].begin() + done_[s] * model_.width();
      qkv.insert(qkv.end(), rows, rows + counts[s] * model_.width());
    }
    const SequenceLayout layout = {static_cast<int64_t>(query_start.size()) - 1,
                                   static_cast<int64_t>(positions.size()),
                                   query_start.data(),
                                   block_table.data(),
                                   block_start.data(),
                                   positions.data()};
    backend_.RopeStore({qkv.data(), model_.num_q_heads, model_.rotary_dim, model_.cos.data(), model_.sin.data(),
                        model_.norm ? model_.q_norm.data() : nullptr, model_.norm ? model_.k_norm.data() : nullptr,
                        1e-6f, layout, cache_});
    std::vector<float> out(positions.size() * model_.num_q_heads * model_.head_dim);
    if (attend) {
      backend_.Attention({qkv.data(), model_.num_q_heads, model_.scale(), model_.window, layout, cache_, out.data()});
    }
    auto row = out.begin();
    for (size_t s = 0; s < qkv_.size(); ++s) {
      const int64_t elements = counts[s] * model_.num_q_heads * model_.head_dim;
      std::copy(row, row + elements, out_[s].begin() + done_[s] * model_.num_q_heads * model_.head_dim);
      row += elements;
      done_[s] += counts[s];
    }
  }

  void RunAll(Random& random, int64_t max_chunk) {
    for (bool left = true; left;) {
      std::vector<int64_t> counts;
      left = false;
      for (size_t s = 0; s < qkv_.size(); ++s) {
        counts.push_back(std::min(Left(s), random.Between(0, max_chunk)));
        left = left || Left(s) > counts.back();
      }
      Run(counts);
    }
  }

  const std::vector<float>& out(size_t s) const { return out_[s]; }

  // What the cache holds at a position: [head_dim] of keys, then of values, and the scale of each (1 but for int8).
  struct Stored {
    std::vector<double> keys, values;
    double key_scale = 1.0, value_scale = 1.0;
  };
  Stored At(size_t s, int64_t position, int64_t head) const {
    const KvLayout layout(cache_);
    const int64_t block = blocks_[s * blocks_per_sequence_ + position / cache_.block_size];
    const int64_t slot = position % cache_.block_size, lane = slot % kAttentionChunk, chunk = slot - lane;
    const char* base = static_cast<const char*>(cache_.base);
    const auto element = [&](int64_t offset, int64_t index) -> double {
      if (cache_.type == KvType::kFloat32) return reinterpret_cast<const float*>(base + offset)[index];
      if (cache_.type == KvType::kBFloat16) return Bf16ToFloat(reinterpret_cast<const BFloat16*>(base + offset)[index]);
      return reinterpret_cast<const int8_t*>(base + offset)[index];
    };
    Stored stored;
    if (cache_.type == KvType::kInt8) {
      stored.key_scale = reinterpret_cast<const float*>(base + layout.KeyScales(block, head, chunk))[lane];
      stored.value_scale = reinterpret_cast<const float*>(base + layout.ValueScales(block, head, chunk))[lane];
    }
    for (int64_t d = 0; d < cache_.head_dim; ++d) {
      const double key = element(layout.KeyChunk(block, head, chunk), layout.KeyElement(lane, d));
      const double value = element(layout.ValueChunk(block, head, chunk), layout.ValueElement(lane, d));
      stored.keys.push_back(key * stored.key_scale);
      stored.values.push_back(value * stored.value_scale);
    }
    return stored;
  }

 private:
  static constexpr int64_t kLargestGap = 192;  // bytes between two blocks

  int64_t BlockBytes() const {
    return static_cast<int64_t>(
        backend_.KvBlockBytes(cache_.type, cache_.block_size, cache_.num_kv_heads, cache_.head_dim));
  }

  Backend& backend_;
  const Model& model_;
  const std::vector<std::vector<float>> qkv_;  // [tokens, width] of each sequence, before rotation
  const int64_t blocks_per_sequence_;
  KvCache cache_;
  Buffer memory_;
  std::vector<uint32_t> blocks_;
  std::vector<int64_t> done_;
  std::vector<std::vector<float>> out_;
};

std::vector<std::vector<float>> RandomSequences(Random& random, const Model& model, int count, int64_t max_tokens) {
  std::vector<std::vector<float>> sequences;
  for (int s = 0; s < count; ++s) sequences.push_back(random.Normals(random.Between(1, max_tokens) * model.width()));
  return sequences;
}

// q, k and v of a sequence as attention should see them, in double.
std::vector<double> Rotated(const Model& model, const std::vector<float>& qkv) {
  std::vector<double> result(qkv.begin(), qkv.end());
  const int64_t half = model.rotary_dim / 2, heads = model.num_q_heads + model.num_kv_heads;
  for (int64_t t = 0; t < static_cast<int64_t>(qkv.size()) / model.width(); ++t) {
    for (int64_t h = 0; h < heads; ++h) {
      double* head = &result[t * model.width() + h * model.head_dim];
      if (model.norm) {
        double squares = 0.0;
        for (int64_t d = 0; d < model.head_dim; ++d) squares += head[d] * head[d];
        const double inverse = 1.0 / std::sqrt(squares / static_cast<double>(model.head_dim) + 1e-6);
        const auto& weight = h < model.num_q_heads ? model.q_norm : model.k_norm;
        for (int64_t d = 0; d < model.head_dim; ++d) head[d] *= inverse * weight[d];
      }
      for (int64_t i = 0; i < half; ++i) {
        const double cos = model.cos[t * half + i], sin = model.sin[t * half + i], a = head[i], b = head[i + half];
        head[i] = a * cos - b * sin;
        head[i + half] = b * cos + a * sin;
      }
    }
  }
  return result;
}

double Norm(const double* a, int64_t count) { return std::sqrt(std::inner_product(a, a + count, a, 0.0)); }

struct Expected {
  std::vector<double> out, bounds;  // an element of out each
};

// Tokens [first_token, …) of sequence s, over the keys and values that the cache holds. `rounding` is the relative
// error of an element of q and of a probability: of bf16 where the kernel multiplies that, else of a short chain in
// fp32.
//
// A score adds head_dim products whose errors are independent: 4 * rounding times the norm of the products is beyond
// what chance gives; the rotation and the fp32 sum err by the norms of q and k times a few 2^-24. An error of a score
// is a relative error of its probability, in numerator and denominator, and the output is an average of values.
Expected Oracle(const Model& model, const Steps& steps, size_t s, const std::vector<float>& qkv, int64_t first_token,
                double rounding) {
  const std::vector<double> rows = Rotated(model, qkv);
  const int64_t tokens = static_cast<int64_t>(qkv.size()) / model.width(), dim = model.head_dim;
  Expected expected;
  std::vector<std::vector<Steps::Stored>> stored(model.num_kv_heads);
  for (int64_t kv = 0; kv < model.num_kv_heads; ++kv) {
    for (int64_t p = 0; p < tokens; ++p) stored[kv].push_back(steps.At(s, p, kv));
  }
  for (int64_t t = first_token; t < tokens; ++t) {
    for (int64_t h = 0; h < model.num_q_heads; ++h) {
      const auto& cache = stored[h / (model.num_q_heads / model.num_kv_heads)];
      const double* q = &rows[t * model.width() + h * dim];
      const int64_t first = model.window == 0 ? 0 : std::max<int64_t>(0, t - model.window + 1);
      std::vector<double> scores, products(dim);
      double score_error = 0.0, largest = 0.0;
      for (int64_t p = first; p <= t; ++p) {
        const double* k = cache[p].keys.data();
        for (int64_t d = 0; d < dim; ++d) products[d] = q[d] * k[d] * model.scale();
        scores.push_back(std::accumulate(products.begin(), products.end(), 0.0));
        score_error = std::max(score_error, 4.0 * rounding * Norm(products.data(), dim) +
                                                0x1p-20 * Norm(q, dim) * Norm(k, dim) * model.scale());
        for (const double v : cache[p].values) largest = std::max(largest, std::abs(v));
      }
      const double maximum = *std::max_element(scores.begin(), scores.end());
      std::vector<double> sums(dim);
      double total = 0.0;
      for (int64_t p = first; p <= t; ++p) {
        const double probability = std::exp(scores[p - first] - maximum);
        for (int64_t d = 0; d < dim; ++d) sums[d] += probability * cache[p].values[d];
        total += probability;
      }
      const double bound = 2.0 * largest * (score_error + rounding + 0x1p-23 * static_cast<double>(scores.size() + 64));
      for (const double sum : sums) {
        expected.out.push_back(sum / total);
        expected.bounds.push_back(bound);
      }
    }
  }
  return expected;
}

double Rounding(Isa isa, KvType type) {
  return RoundsToBf16(isa) && type != KvType::kFloat32 ? 0x1p-8 + 0x1p-13 : 0x1p-22;
}

void ExpectNear(const std::vector<float>& out, const Expected& expected) {
  ASSERT_LE(expected.out.size(), out.size());
  const size_t skipped = out.size() - expected.out.size();
  for (size_t i = 0; i < expected.out.size(); ++i) {
    ASSERT_NEAR(out[skipped + i], expected.out[i], expected.bounds[i]) << "element " << i;
  }
}

int Rounds(Isa isa, int rounds) { return isa == Isa::kReference ? rounds / 3 : rounds; }  // the reference is slow

class AttentionTest : public testing::TestWithParam<Isa> {};

TEST_P(AttentionTest, AgreesWithDoublePrecision) {
  Random random(11);
  SCOPED_TRACE(random.Describe());
  const auto backend = MakeBackend(GetParam(), 2);
  for (int round = 0; round < Rounds(GetParam(), 6); ++round) {
    const Model model = RandomModel(random);
    SCOPED_TRACE(Describe(model));
    const auto sequences = RandomSequences(random, model, 2, 60);
    Steps steps(*backend, model, sequences, 16 * random.Between(1, 3), random);
    steps.RunAll(random, 60);
    for (size_t s = 0; s < sequences.size(); ++s) {
      ExpectNear(steps.out(s), Oracle(model, steps, s, sequences[s], 0, Rounding(GetParam(), model.kv_type)));
    }
  }
}

// Half an ulp of bf16, half a step of int8; the rotation itself errs by a few 2^-24 of a head's size.
TEST_P(AttentionTest, StoresWhatWasRotated) {
  Random random(10);
  SCOPED_TRACE(random.Describe());
  const auto backend = MakeBackend(GetParam(), 2);
  for (int round = 0; round < Rounds(GetParam(), 6); ++round) {
    const Model model = RandomModel(random);
    SCOPED_TRACE(Describe(model));
    const auto sequences = RandomSequences(random, model, 1, 40);
    Steps steps(*backend, model, sequences, 16 * random.Between(1, 3), random);
    steps.Store({steps.Left(0)});
    const std::vector<double> rows = Rotated(model, sequences[0]);
    const auto check = [&](const double* expected, const std::vector<double>& stored, double scale) {
      const double noise = 0x1p-20 * Norm(expected, model.head_dim);
      const double largest =
          *std::max_element(stored.begin(), stored.end(), [](double a, double b) { return std::abs(a) < std::abs(b); });
      if (model.kv_type == KvType::kInt8) {
        ASSERT_NEAR(std::abs(largest), 127 * scale, 1e-6 * scale);
      }
      for (int64_t d = 0; d < model.head_dim; ++d) {
        const double rounding = model.kv_type == KvType::kFloat32    ? 0.0
                                : model.kv_type == KvType::kBFloat16 ? 0x1p-8 * std::abs(expected[d])
                                                                     : 0.5 * scale;
        ASSERT_NEAR(stored[d], expected[d], rounding + noise) << "dimension " << d;
      }
    };
    for (int64_t p = 0; p < static_cast<int64_t>(sequences[0].size()) / model.width(); ++p) {
      for (int64_t head = 0; head < model.num_kv_heads; ++head) {
        const Steps::Stored stored = steps.At(0, p, head);
        const double* key = &rows[p * model.width() + (model.num_q_heads + head) * model.head_dim];
        check(key, stored.keys, stored.key_scale);
        check(key + model.num_kv_heads * model.head_dim, stored.values, stored.value_scale);
      }
    }
  }
}

TEST_P(AttentionTest, ZerosAndTinyNumbersInInt8) {
  Random random(16);
  const auto backend = MakeBackend(GetParam(), 1);
  Model model = RandomModel(random);
  model.kv_type = KvType::kInt8;
  model.norm = false;
  std::vector<float> sequence(20 * model.width());
  std::fill_n(sequence.begin(), 10 * model.width(), 1e-40f);
  Steps steps(*backend, model, {sequence}, 16, random);
  steps.Run({20});
  EXPECT_TRUE(SameBits(steps.out(0), std::vector<float>(steps.out(0).size())));
}

// Contexts of several spans: the last tokens at once on one thread, and one by one, split over the threads.
TEST_P(AttentionTest, LongContexts) {
  Random random(17);
  SCOPED_TRACE(random.Describe());
  const auto one_thread = MakeBackend(GetParam(), 1);
  const auto four_threads = MakeBackend(GetParam(), 4);
  const int64_t asked = 24;
  for (const KvType type : {KvType::kFloat32, KvType::kBFloat16, KvType::kInt8}) {
    for (const int64_t window : {0, 550}) {
      Model model = RandomModel(random, 1100, window == 0 ? 48 : 32);
      model.kv_type = type;
      model.window = window;
      model.num_kv_heads = 1;
      model.num_q_heads = random.Between(1, 4);
      SCOPED_TRACE(Describe(model));
      const int64_t tokens = random.Between(1024 + 1, 1024 + asked - 1);
      const auto sequence = random.Normals(tokens * model.width());
      Steps at_once(*one_thread, model, {sequence}, 16 * random.Between(1, 8), random);
      at_once.Store({tokens - asked});
      at_once.Run({asked});
      ExpectNear(at_once.out(0), Oracle(model, at_once, 0, sequence, tokens - asked, Rounding(GetParam(), type)));
      Steps split(*four_threads, model, {sequence}, 16 * random.Between(1, 8), random);
      split.Store({tokens - asked});
      while (split.Left(0) > 0) split.Run({std::min(split.Left(0), random.Between(1, 8))});
      ASSERT_TRUE(SameBits(at_once.out(0), split.out(0)));
    }
  }
}

TEST_P(AttentionTest, BitsDependOnNothingElse) {
  Random random(12);
  SCOPED_TRACE(random.Describe());
  const auto one_thread = MakeBackend(GetParam(), 1);
  const auto two_threads = MakeBackend(GetParam(), 2);
  const auto four_threads = MakeBackend(GetParam(), 4);
  Backend* const backends[] = {one_thread.get(), two_threads.get(), four_threads.get()};
  for (int round = 0; round < Rounds(GetParam(), 6); ++round) {
    const Model model = RandomModel(random);
    SCOPED_TRACE(Describe(model));
    const auto sequences = RandomSequences(random, model, 4, 150);
    Steps together(*backends[round % 3], model, sequences, 16 * random.Between(1, 8), random);
    together.RunAll(random, 1 << random.Between(0, 6));
    for (size_t s = 0; s < sequences.size(); ++s) {
      Steps alone(*one_thread, model, {sequences[s]}, 16 * random.Between(1, 8), random);
      alone.Run({alone.Left(0)});
      ASSERT_TRUE(SameBits(alone.out(0), together.out(s))) << "sequence " << s;
    }
  }
}

// What comes of a sequence of 60 tokens, and of the same with one that is not finite.
struct BrokenToken {
  int64_t token;
  std::vector<float> clean, stained;
};

BrokenToken BreakToken(Backend& backend, const Model& model, int64_t first, int64_t last, Random& random) {
  auto sequence = random.Normals(60 * model.width());
  Steps clean(backend, model, {sequence}, 16, random);
  clean.Run({60});
  const int64_t token = random.Between(first, last);
  std::fill_n(sequence.begin() + token * model.width(), model.width(), std::numeric_limits<float>::infinity());
  Steps stained(backend, model, {sequence}, 16, random);
  stained.Run({60});
  return {token, clean.out(0), stained.out(0)};
}

// A broken token may break those that see it, never those before it in the same call.
TEST_P(AttentionTest, LaterTokensAreNotSeen) {
  Random random(13);
  SCOPED_TRACE(random.Describe());
  const auto backend = MakeBackend(GetParam(), 2);
  for (int round = 0; round < Rounds(GetParam(), 6); ++round) {
    const Model model = RandomModel(random);
    SCOPED_TRACE(Describe(model));
    const auto [broken, clean, stained] = BreakToken(*backend, model, 1, 59, random);
    const int64_t before = broken * model.num_q_heads * model.head_dim;
    EXPECT_TRUE(SameBits({clean.begin(), clean.begin() + before}, {stained.begin(), stained.begin() + before}))
        << "token " << broken;
    EXPECT_TRUE(std::isnan(stained[before]));
  }
}

// Nor those whose window has left it behind.
TEST_P(AttentionTest, TokensBeforeTheWindowAreNotSeen) {
  Random random(18);
  SCOPED_TRACE(random.Describe());
  const auto backend = MakeBackend(GetParam(), 2);
  for (int round = 0; round < Rounds(GetParam(), 9); ++round) {
    Model model = RandomModel(random);
    model.kv_type = static_cast<KvType>(round % 3);
    model.window = random.Between(1, 40);
    SCOPED_TRACE(Describe(model));
    const auto [broken, clean, stained] = BreakToken(*backend, model, 0, 19, random);
    const int64_t after = (broken + model.window) * model.num_q_heads * model.head_dim;
    EXPECT_TRUE(SameBits({clean.begin() + after, clean.end()}, {stained.begin() + after, stained.end()}))
        << "token " << broken;
    EXPECT_TRUE(std::isnan(stained[after - 1]));
  }
}

TEST_P(AttentionTest, ABrokenQueryIsNotHidden) {
  Random random(15);
  SCOPED_TRACE(random.Describe());
  const auto backend = MakeBackend(GetParam(), 1);
  Model model = RandomModel(random);
  model.norm = false;
  auto sequence = random.Normals(20 * model.width());
  sequence[18 * model.width()] = std::numeric_limits<float>::quiet_NaN();
  Steps steps(*backend, model, {sequence}, 16, random);
  steps.Run({20});
  const auto first_output = [&](int64_t token) { return steps.out(0)[token * model.num_q_heads * model.head_dim]; };
  EXPECT_FALSE(std::isnan(first_output(17)));
  EXPECT_TRUE(std::isnan(first_output(18)));
  EXPECT_FALSE(std::isnan(first_output(19)));
}

TEST_P(AttentionTest, BitsOfTheReference) {
  Random random(14);
  SCOPED_TRACE(random.Describe());
  const auto backend = MakeBackend(GetParam(), 2);
  const auto reference = MakeBackend(Isa::kReference, 1);
  for (int round = 0; round < Rounds(GetParam(), 6); ++round) {
    const Model model = RandomModel(random);
    SCOPED_TRACE(Describe(model));
    if (RoundsToBf16(GetParam()) && model.kv_type != KvType::kFloat32) continue;  // multiplies bf16
    const auto sequences = RandomSequences(random, model, 1, 60);
    Steps expected(*reference, model, sequences, 16, random), actual(*backend, model, sequences, 32, random);
    expected.Run({expected.Left(0)});
    actual.Run({actual.Left(0)});
    ASSERT_TRUE(SameBits(actual.out(0), expected.out(0)));
  }
}

TEST_P(AttentionTest, NoHeadsOrNoTokens) {
  const auto backend = MakeBackend(GetParam(), 2);
  EXPECT_EQ(backend->KvBlockBytes(KvType::kBFloat16, 16, 0, 64), 0u);
  const uint32_t starts[] = {0, 0}, position[] = {0};
  const float table[32] = {};
  SequenceLayout layout = {1, 0, starts, nullptr, starts, nullptr};
  KvCache cache = {nullptr, KvType::kBFloat16, 1, 16, 1, 64};
  backend->RopeStore({nullptr, 2, 64, table, table, nullptr, nullptr, 0.0f, layout, cache});
  backend->Attention({nullptr, 2, 1.0f, 0, layout, cache, nullptr});
  const uint32_t one_token[] = {0, 1};
  cache.num_kv_heads = 0;
  layout = {1, 1, one_token, nullptr, starts, position};
  backend->RopeStore({nullptr, 0, 64, table, table, nullptr, nullptr, 0.0f, layout, cache});
  backend->Attention({nullptr, 0, 1.0f, 0, layout, cache, nullptr});
}

INSTANTIATE_TEST_SUITE_P(EveryIsa, AttentionTest, testing::ValuesIn(SupportedIsas()),
                         [](const auto& info) { return IsaName(info.param); });

}  // namespace
}  // namespace slmmesh::kernels
