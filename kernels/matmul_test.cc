// Matrix products: against double precision within a derived bound, and bit for bit against themselves in other
// company, split into other leaves, on other numbers of threads.
#include <algorithm>
#include <cmath>

#include "kernels/test_machines.h"
#include "kernels/test_util.h"

namespace slmmesh::kernels {
namespace {

struct Problem {
  int64_t m, n, k;
  WeightType type;
  std::vector<int64_t> leaves;  // starts and the end
  std::vector<float> x, weights, bias;
};

std::vector<int64_t> RandomLeaves(Random& random, int64_t k) {
  const int count = 1 << random.Between(0, 3);
  std::vector<int64_t> starts = {0, k};
  for (int i = 1; i < count; ++i) starts.push_back(2 * random.Between(0, k / 2));  // some coincide: empty leaves
  std::sort(starts.begin(), starts.end());
  return starts;
}

Problem RandomProblem(Random& random, int64_t max_m) {
  Problem p;
  p.m = random.Between(1, max_m);
  p.n = random.Between(1, 200);
  p.k = 2 * random.Between(1, 200);
  p.type = random.Between(0, 1) == 0 ? WeightType::kFloat32 : WeightType::kBFloat16;
  p.leaves = RandomLeaves(random, p.k);
  p.x = random.Normals(p.m * p.k);
  p.weights = random.Normals(p.n * p.k);
  if (random.Between(0, 1) == 1) p.bias = random.Normals(p.n);
  return p;
}

std::string Describe(const Problem& p) {
  return "m " + std::to_string(p.m) + ", n " + std::to_string(p.n) + ", k " + std::to_string(p.k) +
         (p.type == WeightType::kFloat32 ? ", fp32, " : ", bf16, ") + std::to_string(p.leaves.size() - 1) + " leaves";
}

class PackedWeights {
 public:
  PackedWeights(Backend& backend, WeightType type, const std::vector<float>& weights, int64_t n, int64_t k)
      : buffer_(backend, backend.PackedBytes(type, n, k)) {
    for (int64_t row = 0; row < n; row += kPanelColumns) {
      const int64_t rows = std::min(kPanelColumns, n - row);
      backend.PackPanel(type, weights.data() + row * k, rows, row / kPanelColumns, k, buffer_.get());
    }
  }
  const void* get() const { return buffer_.get(); }

 private:
  Buffer buffer_;
};

// Rows [first, first + m) of the problem over the given leaves.
std::vector<float> Multiply(Backend& backend, const PackedWeights& packed, const Problem& p, int64_t first, int64_t m,
                            const std::vector<int64_t>& leaves) {
  std::vector<float> y(m * p.n, -1.0f);
  backend.MatMul({.x = p.x.data() + first * p.k,
                  .x_stride = p.k,
                  .weights = packed.get(),
                  .format = p.type,
                  .bias = p.bias.empty() ? nullptr : p.bias.data(),
                  .y = y.data(),
                  .y_stride = p.n,
                  .m = m,
                  .n = p.n,
                  .k = p.k,
                  .leaf_start = leaves.data(),
                  .num_leaves = static_cast<int>(leaves.size()) - 1});
  return y;
}

class MatMulTest : public EveryMachineTest {};

TEST_P(MatMulTest, AgreesWithDoublePrecision) {
  Random random(1);
  SCOPED_TRACE(random.Describe());
  const auto backend = CreateCpuBackend(*GetParam().kernels, 2);
  for (int round = 0; round < 30; ++round) {
    const Problem p = RandomProblem(random, 40);
    SCOPED_TRACE(Describe(p));
    const PackedWeights packed(*backend, p.type, p.weights, p.n, p.k);
    const std::vector<float> y = Multiply(*backend, packed, p, 0, p.m, p.leaves);
    const bool bf16 = p.type == WeightType::kBFloat16;
    const bool rounds_x = bf16 && RoundsToBf16(GetParam().kernels->isa);
    for (int64_t i = 0; i < p.m; ++i) {
      for (int64_t j = 0; j < p.n; ++j) {
        double sum = p.bias.empty() ? 0.0 : p.bias[j], norm = std::abs(sum);
        for (int64_t k = 0; k < p.k; ++k) {
          const double product = static_cast<double>(Rounded(p.x[i * p.k + k], rounds_x)) *
                                 static_cast<double>(Rounded(p.weights[j * p.k + k], bf16));
          sum += product;
          norm += std::abs(product);
        }
        // One rounding of at most half an ulp per term of the chain, 3 for the leaves, 1 for the bias.
        const double bound = static_cast<double>(p.k + 4) * 0x1p-24 * norm * 1.01;
        ASSERT_NEAR(y[i * p.n + j], sum, bound) << "row " << i << " column " << j;
      }
    }
  }
}

TEST_P(MatMulTest, RowsDoNotDependOnCompany) {
  Random random(2);
  SCOPED_TRACE(random.Describe());
  const auto one_thread = CreateCpuBackend(*GetParam().kernels, 1);
  const auto four_threads = CreateCpuBackend(*GetParam().kernels, 4);
  for (int round = 0; round < 25; ++round) {
    const Problem p = RandomProblem(random, round % 5 == 0 ? 230 : 30);
    SCOPED_TRACE(Describe(p));
    const PackedWeights packed(*one_thread, p.type, p.weights, p.n, p.k);
    const std::vector<float> together = Multiply(*four_threads, packed, p, 0, p.m, p.leaves);
    for (int64_t row = 0; row < p.m;) {
      const int64_t rows = std::min(p.m - row, random.Between(1, 9));
      const std::vector<float> apart = Multiply(*one_thread, packed, p, row, rows, p.leaves);
      const std::vector<float> same(together.begin() + row * p.n, together.begin() + (row + rows) * p.n);
      ASSERT_TRUE(SameBits(apart, same)) << "rows from " << row;
      row += rows;
    }
  }
}

// Long enough for several K blocks, of which the last is partial.
TEST_P(MatMulTest, LongRowsDoNotDependOnCompany) {
  if (GetParam().kernels == &ReferenceKernels()) GTEST_SKIP() << "knows no blocks of its own, and is slow";
  Random random(3);
  SCOPED_TRACE(random.Describe());
  const auto backend = CreateCpuBackend(*GetParam().kernels, 2);
  for (const WeightType type : {WeightType::kFloat32, WeightType::kBFloat16}) {
    Problem p = {.m = 131, .n = 70, .k = 1346, .type = type, .leaves = {0, 1346}};
    p.x = random.Normals(p.m * p.k);
    p.weights = random.Normals(p.n * p.k);
    const PackedWeights packed(*backend, p.type, p.weights, p.n, p.k);
    const std::vector<float> together = Multiply(*backend, packed, p, 0, p.m, p.leaves);
    for (const int64_t m : {1, 4, 7, 13, 20, 37}) {
      const std::vector<float> apart = Multiply(*backend, packed, p, 5, m, p.leaves);
      const std::vector<float> same(together.begin() + 5 * p.n, together.begin() + (5 + m) * p.n);
      ASSERT_TRUE(SameBits(apart, same)) << m << " rows";
    }
  }
}

// What tensor parallelism stands on: each half of the leaves on its own rank, its own columns of the weights, the
// partial sums joined by Add.
TEST_P(MatMulTest, HalvesAddUpToTheWhole) {
  Random random(4);
  SCOPED_TRACE(random.Describe());
  const auto backend = CreateCpuBackend(*GetParam().kernels, 2);
  for (int round = 0; round < 25; ++round) {
    Problem p = RandomProblem(random, 20);
    p.bias.clear();
    while (p.leaves.size() < 3) p.leaves = RandomLeaves(random, p.k);
    SCOPED_TRACE(Describe(p));
    const PackedWeights packed(*backend, p.type, p.weights, p.n, p.k);
    const std::vector<float> whole = Multiply(*backend, packed, p, 0, p.m, p.leaves);

    std::vector<std::vector<float>> halves;
    const size_t middle = (p.leaves.size() - 1) / 2;
    for (const auto& range : {std::pair{size_t{0}, middle}, std::pair{middle, p.leaves.size() - 1}}) {
      const size_t first = range.first;
      const size_t last = range.second;
      Problem half = {.m = p.m, .n = p.n, .k = p.leaves[last] - p.leaves[first], .type = p.type};
      if (half.k == 0) continue;  // an absent half: not a zero
      for (size_t l = first; l <= last; ++l) half.leaves.push_back(p.leaves[l] - p.leaves[first]);
      const auto cut = [&](const std::vector<float>& rows, int64_t count) {
        std::vector<float> columns;
        for (int64_t r = 0; r < count; ++r) {
          columns.insert(columns.end(), rows.begin() + r * p.k + p.leaves[first],
                         rows.begin() + r * p.k + p.leaves[last]);
        }
        return columns;
      };
      half.x = cut(p.x, p.m);
      half.weights = cut(p.weights, p.n);
      const PackedWeights half_packed(*backend, half.type, half.weights, half.n, half.k);
      halves.push_back(Multiply(*backend, half_packed, half, 0, half.m, half.leaves));
    }
    if (halves.size() == 2) backend->Add(halves[0].data(), halves[1].data(), p.m * p.n);
    EXPECT_TRUE(SameBits(halves[0], whole));
  }
}

TEST_P(MatMulTest, NothingToDo) {
  Random random(6);
  const auto backend = CreateCpuBackend(*GetParam().kernels, 1);
  Problem p = {.m = 2, .n = 1, .k = 2, .type = WeightType::kFloat32, .leaves = {0, 2}};
  p.x = random.Normals(4);
  p.weights = random.Normals(2);
  p.bias = {3.0f};
  const PackedWeights packed(*backend, p.type, p.weights, 1, 2);
  EXPECT_TRUE(Multiply(*backend, packed, p, 0, 0, p.leaves).empty());
  Multiply(*backend, packed, p, 0, 2, p.leaves);  // leaves its sums in the scratch memory
  p.k = 0;
  for (const auto& leaves : {std::vector<int64_t>{0, 0}, std::vector<int64_t>{0, 0, 0}}) {
    EXPECT_EQ(Multiply(*backend, packed, p, 0, 2, leaves), std::vector<float>(2, 3.0f));  // zero, then the bias
  }
}

// One definition for every instruction set, but for vdpbf16ps.
TEST_P(MatMulTest, BitsOfTheReference) {
  Random random(5);
  SCOPED_TRACE(random.Describe());
  const auto backend = CreateCpuBackend(*GetParam().kernels, 2);
  const auto reference = MakeBackend(Isa::kReference, 1);
  for (int round = 0; round < 15; ++round) {
    Problem p = RandomProblem(random, 20);
    if (RoundsToBf16(GetParam().kernels->isa)) p.type = WeightType::kFloat32;
    SCOPED_TRACE(Describe(p));
    const PackedWeights packed(*backend, p.type, p.weights, p.n, p.k);
    EXPECT_TRUE(
        SameBits(Multiply(*backend, packed, p, 0, p.m, p.leaves), Multiply(*reference, packed, p, 0, p.m, p.leaves)));
  }
}

INSTANTIATE_TEST_SUITE_P(EveryMachine, MatMulTest, testing::ValuesIn(Machines()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace slmmesh::kernels
