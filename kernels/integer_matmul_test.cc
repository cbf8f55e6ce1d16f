// Products of integer weights: every instruction set gives the bits of the reference, rows do not depend on company,
// halves add up, and the reference agrees with double precision within a derived bound.
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "kernels/cpu/half.h"
#include "kernels/test_machines.h"
#include "kernels/test_util.h"

namespace slmmesh::kernels {
namespace {

struct Problem {
  int64_t m, n, k;
  WeightFormat format;
  std::vector<int64_t> leaves;
  std::vector<float> x, bias;
  std::vector<int8_t> quants;
  std::vector<float> scales, minima;

  int64_t groups() const { return format.group == 0 ? 1 : k / format.group; }
  double Weight(int64_t row, int64_t column) const {
    const int64_t group = row * groups() + (format.group == 0 ? 0 : column / format.group);
    const double minimum = minima.empty() ? 0.0 : minima[group];
    return static_cast<double>(scales[group]) * quants[row * k + column] + minimum;
  }
};

std::vector<WeightFormat> AllFormats() {
  std::vector<WeightFormat> formats = {{WeightType::kInt8, 0, ScaleType::kFloat32, false}};
  for (const ScaleType scale : {ScaleType::kFloat32, ScaleType::kFloat16}) {
    for (const bool minima : {false, true}) {
      for (const int64_t group : {16, 32, 128}) formats.push_back({WeightType::kInt8, group, scale, minima});
      for (const int64_t group : {32, 64, 128}) formats.push_back({WeightType::kInt4, group, scale, minima});
    }
  }
  return formats;
}

std::vector<float> Scales(Random& random, int64_t count, ScaleType type) {
  std::vector<float> scales = random.Normals(count);  // negative ones, too: GGUF's Q4_0 has them
  for (float& scale : scales) scale = type == ScaleType::kFloat16 ? HalfToFloat(FloatToHalf(scale)) : scale;
  return scales;
}

Problem RandomProblem(Random& random, const WeightFormat& format, int64_t max_m, int64_t max_units = 12) {
  const int64_t unit = format.group == 0 ? 32 : format.group;
  Problem p = {.m = random.Between(1, max_m),
               .n = random.Between(1, 200),
               .k = unit * random.Between(1, max_units),
               .format = format};
  const int count = 1 << random.Between(0, 3);
  p.leaves = {0, p.k};
  for (int i = 1; i < count; ++i) p.leaves.push_back(unit * random.Between(0, p.k / unit));
  std::sort(p.leaves.begin(), p.leaves.end());
  p.x = random.Normals(p.m * p.k);
  for (float& x : p.x) x *= random.Between(0, 99) == 0 ? 100.0f : 1.0f;  // outliers
  if (random.Between(0, 1) == 1) p.bias = random.Normals(p.n);
  const bool int8 = format.type == WeightType::kInt8;
  const int64_t low = int8 ? -128 : format.has_minima ? 0 : -8, high = int8 ? 127 : format.has_minima ? 15 : 7;
  p.quants.resize(p.n * p.k);
  for (int8_t& quant : p.quants) quant = static_cast<int8_t>(random.Between(low, high));
  p.scales = Scales(random, p.n * p.groups(), format.scale_type);
  if (format.has_minima) p.minima = Scales(random, p.n * p.groups(), format.scale_type);
  return p;
}

std::string Describe(const Problem& p) {
  return "m " + std::to_string(p.m) + ", n " + std::to_string(p.n) + ", k " + std::to_string(p.k) +
         (p.format.type == WeightType::kInt8 ? ", int8" : ", int4") + " groups of " + std::to_string(p.format.group) +
         (p.format.scale_type == ScaleType::kFloat16 ? ", fp16 scales" : "") +
         (p.format.has_minima ? ", minima, " : ", ") + std::to_string(p.leaves.size() - 1) + " leaves";
}

class PackedWeights {
 public:
  PackedWeights(Backend& backend, const Problem& p) : buffer_(backend, backend.PackedBytes(p.format, p.n, p.k)) {
    for (int64_t row = 0; row < p.n; row += kPanelColumns) {
      const QuantizedRows rows = {p.quants.data() + row * p.k, p.scales.data() + row * p.groups(),
                                  p.minima.empty() ? nullptr : p.minima.data() + row * p.groups(),
                                  std::min(kPanelColumns, p.n - row)};
      backend.PackPanel(p.format, rows, row / kPanelColumns, p.k, buffer_.get());
    }
  }
  const void* get() const { return buffer_.get(); }

 private:
  Buffer buffer_;
};

std::vector<float> Multiply(Backend& backend, const PackedWeights& packed, const Problem& p, int64_t first, int64_t m) {
  std::vector<float> y(m * p.n, -1.0f);
  backend.MatMul({.x = p.x.data() + first * p.k,
                  .x_stride = p.k,
                  .weights = packed.get(),
                  .format = p.format,
                  .bias = p.bias.empty() ? nullptr : p.bias.data(),
                  .y = y.data(),
                  .y_stride = p.n,
                  .m = m,
                  .n = p.n,
                  .k = p.k,
                  .leaf_start = p.leaves.data(),
                  .num_leaves = static_cast<int>(p.leaves.size()) - 1});
  return y;
}

std::vector<float> Multiply(Backend& backend, const Problem& p) {
  return Multiply(backend, PackedWeights(backend, p), p, 0, p.m);
}

class IntegerMatMulTest : public EveryMachineTest {};

// Quantizing moves each x of a block by at most half a step: 1 / 254 of twice its largest magnitude, or of 1 / 128 of
// the leaf's if that is more. fp32 rounds once or twice a block, and four times for scales, leaves and bias.
TEST_P(IntegerMatMulTest, AgreesWithDoublePrecision) {
  Random random(1);
  SCOPED_TRACE(random.Describe());
  const auto backend = CreateCpuBackend(*GetParam().kernels, 2);
  for (const WeightFormat& format : AllFormats()) {
    const Problem p = RandomProblem(random, format, 9, 4);
    SCOPED_TRACE(Describe(p));
    const std::vector<float> y = Multiply(*backend, p);
    const int64_t block_size = format.group == 16 ? 16 : 32, blocks = p.k / block_size;
    for (int64_t i = 0; i < p.m; ++i) {
      for (int64_t j = 0; j < p.n; ++j) {
        double sum = p.bias.empty() ? 0.0 : p.bias[j], norm = std::abs(sum), quantizing = 0.0;
        for (size_t l = 0; l + 1 < p.leaves.size(); ++l) {
          const auto largest = [&](int64_t begin, int64_t end) {
            double value = 0.0;
            for (int64_t k = begin; k < end; ++k) value = std::max(value, std::abs(double{p.x[i * p.k + k]}));
            return value;
          };
          const double largest_of_leaf = largest(p.leaves[l], p.leaves[l + 1]);
          for (int64_t k = p.leaves[l]; k < p.leaves[l + 1]; ++k) {
            const double x = p.x[i * p.k + k], weight = p.Weight(j, k);
            sum += x * weight;
            // Scale and minimum enter by products of their own.
            const int64_t group = j * p.groups() + (format.group == 0 ? 0 : k / format.group);
            norm += std::abs(x) * (std::abs(p.scales[group] * p.quants[j * p.k + k]) +
                                   (p.minima.empty() ? 0.0f : std::abs(p.minima[group])));
            const int64_t block = k / block_size * block_size;
            const double step = std::max(2.0 * largest(block, block + block_size), largest_of_leaf / 128.0);
            quantizing += std::abs(weight) * step / 254.0;
          }
        }
        const double bound = 1.01 * (quantizing + static_cast<double>(2 * blocks + 8) * 0x1p-24 * norm);
        ASSERT_NEAR(y[i * p.n + j], sum, bound) << "row " << i << " column " << j;
      }
    }
  }
}

TEST_P(IntegerMatMulTest, BitsOfTheReference) {
  Random random(2);
  SCOPED_TRACE(random.Describe());
  const auto backend = CreateCpuBackend(*GetParam().kernels, 2);
  const auto reference = MakeBackend(Isa::kReference, 1);
  for (const WeightFormat& format : AllFormats()) {
    const Problem p = RandomProblem(random, format, 20, 5);
    SCOPED_TRACE(Describe(p));
    EXPECT_TRUE(SameBits(Multiply(*backend, p), Multiply(*reference, p)));
  }
}

TEST_P(IntegerMatMulTest, RowsDoNotDependOnCompany) {
  Random random(3);
  SCOPED_TRACE(random.Describe());
  const auto one_thread = CreateCpuBackend(*GetParam().kernels, 1);
  const auto four_threads = CreateCpuBackend(*GetParam().kernels, 4);
  for (const WeightFormat& format : AllFormats()) {
    const Problem p = RandomProblem(random, format, GetParam().max_m, GetParam().max_groups);
    SCOPED_TRACE(Describe(p));
    const PackedWeights packed(*one_thread, p);
    const std::vector<float> together = Multiply(*four_threads, packed, p, 0, p.m);
    for (int64_t row = 0; row < p.m;) {
      const int64_t rows = std::min(p.m - row, random.Between(1, 40));
      const std::vector<float> apart = Multiply(*one_thread, packed, p, row, rows);
      const std::vector<float> same(together.begin() + row * p.n, together.begin() + (row + rows) * p.n);
      ASSERT_TRUE(SameBits(apart, same)) << "rows from " << row;
      row += rows;
    }
  }
}

// What tensor parallelism stands on: each half of the leaves with its own columns, the partial sums joined by Add. With
// one scale a row, both halves have the same.
TEST_P(IntegerMatMulTest, HalvesAddUpToTheWhole) {
  Random random(4);
  SCOPED_TRACE(random.Describe());
  const auto backend = CreateCpuBackend(*GetParam().kernels, 2);
  for (const WeightFormat& format : AllFormats()) {
    Problem p = RandomProblem(random, format, 8, 6);
    p.bias.clear();
    p.k = p.k / 2 * 2;
    const int64_t unit = format.group == 0 ? 32 : format.group;
    p.leaves = {0, p.k / unit / 2 * unit, p.k};
    SCOPED_TRACE(Describe(p));
    const std::vector<float> whole = Multiply(*backend, p);
    std::vector<std::vector<float>> halves;
    for (int half = 0; half < 2; ++half) {
      const int64_t begin = p.leaves[half], end = p.leaves[half + 1];
      if (begin == end) continue;
      Problem part = {.m = p.m, .n = p.n, .k = end - begin, .format = p.format, .leaves = {0, end - begin}};
      const auto cut = [](const auto& from, int64_t rows, int64_t width, int64_t first, int64_t last, auto& to) {
        for (int64_t r = 0; r < rows && !from.empty(); ++r) {
          to.insert(to.end(), from.begin() + r * width + first, from.begin() + r * width + last);
        }
      };
      cut(p.x, p.m, p.k, begin, end, part.x);
      cut(p.quants, p.n, p.k, begin, end, part.quants);
      const int64_t first = format.group == 0 ? 0 : begin / unit, last = format.group == 0 ? 1 : end / unit;
      cut(p.scales, p.n, p.groups(), first, last, part.scales);
      cut(p.minima, p.n, p.groups(), first, last, part.minima);
      halves.push_back(Multiply(*backend, part));
    }
    if (halves.size() == 2) backend->Add(halves[0].data(), halves[1].data(), p.m * p.n);
    EXPECT_TRUE(SameBits(halves[0], whole));
  }
}

// The largest sums that there are, where bytes, pairs of them or blocks would overflow first. All are powers of two
// times 127 * 127, so the chain of blocks is exact.
TEST_P(IntegerMatMulTest, ExtremesAreExact) {
  const auto backend = CreateCpuBackend(*GetParam().kernels, 1);
  const int64_t k = 2048;
  for (const float sign : {1.0f, -1.0f}) {
    Problem p = {
        .m = 1, .n = 1, .k = k, .format = {WeightType::kInt8, 0, ScaleType::kFloat32, false}, .leaves = {0, k}};
    p.x.assign(k, 127.0f * sign);
    p.quants.assign(k, -128);
    p.scales = {1.0f};
    EXPECT_EQ(Multiply(*backend, p)[0], -128.0f * 127.0f * sign * static_cast<float>(k));
  }
}

TEST_P(IntegerMatMulTest, ActivationsThatAreNotFiniteGiveNan) {
  Random random(5);
  SCOPED_TRACE(random.Describe());
  const auto backend = CreateCpuBackend(*GetParam().kernels, 1);
  for (const WeightFormat& format : AllFormats()) {
    Problem p = RandomProblem(random, format, 3, 3);
    p.leaves = {0, p.k};
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
      p.x[p.k - 1] = bad;  // of the first row
      const std::vector<float> y = Multiply(*backend, p);
      EXPECT_TRUE(std::isnan(y[0]));
      for (int64_t i = 1; i < p.m; ++i) EXPECT_TRUE(std::isfinite(y[i * p.n]));
    }
    std::fill(p.x.begin(), p.x.end(), 0x1p-140f);  // too small to be told from zero
    for (const float y : Multiply(*backend, p)) EXPECT_LE(std::abs(y), p.bias.empty() ? 0.0f : 10.0f);
  }
}

// One number for all machines: the bits of products whose inputs owe nothing to a machine's own library.
TEST_P(IntegerMatMulTest, BitsOfEveryMachine) {
  const auto backend = CreateCpuBackend(*GetParam().kernels, 2);
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  std::mt19937_64 engine(6);
  for (const WeightFormat& format : AllFormats()) {
    Problem p = {.m = 5, .n = 70, .k = 256, .format = format, .leaves = {0, 128, 256}};
    const auto fraction = [&] { return static_cast<float>(static_cast<int64_t>(engine() % 4001) - 2000) / 512.0f; };
    p.x.resize(p.m * p.k);
    for (float& x : p.x) x = fraction();
    p.quants.resize(p.n * p.k);
    const int64_t low = format.type == WeightType::kInt8 ? -128 : format.has_minima ? 0 : -8;
    for (int8_t& quant : p.quants) {
      quant = static_cast<int8_t>(low + static_cast<int64_t>(engine() % (format.type == WeightType::kInt8 ? 256 : 16)));
    }
    p.scales.resize(p.n * p.groups());
    for (float& scale : p.scales) scale = HalfToFloat(FloatToHalf(fraction()));
    if (format.has_minima) p.minima = p.scales;
    for (const float y : Multiply(*backend, p)) {
      hash = (hash ^ std::bit_cast<uint32_t>(y)) * 0x100000001b3;
    }
  }
  EXPECT_EQ(hash, 1033914109196728079u);
}

INSTANTIATE_TEST_SUITE_P(EveryMachine, IntegerMatMulTest, testing::ValuesIn(Machines()),
                         [](const auto& info) { return info.param.name; });

TEST(Half, RoundTripsAndRoundsToNearestEven) {
  for (uint32_t half = 0; half < 0x10000; ++half) {
    const float value = HalfToFloat(static_cast<uint16_t>(half));
    if (std::isnan(value)) continue;
    ASSERT_EQ(FloatToHalf(value), half);
    if ((half & 0x7fff) >= 0x7bff) continue;
    const float next = HalfToFloat(static_cast<uint16_t>(half + 1));
    ASSERT_EQ(FloatToHalf((value + next) / 2), half + (half & 1)) << half;
  }
}

}  // namespace
}  // namespace slmmesh::kernels
