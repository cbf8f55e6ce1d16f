// What rows kernels and AMX have of their own: where they read and write, the order of bf16 sums, and the tile
// registers themselves, where this machine has them, against the emulated ones that the other tests run over.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include "kernels/test_machines.h"
#include "kernels/test_util.h"
#ifdef MESH_KERNELS_X86
#include "kernels/cpu/amx/tiles.h"
#endif

namespace slmmesh::kernels {
namespace {

using amx::EmulatedTiles;

// One leaf of one element: steps of 32 k from the leaf's start, of which even and odd k are chains of their own.
float Bf16Leaf(const float* x, const float* weights, int64_t k) {
  float sum = 0.0f;
  for (int64_t step = 0; step < k; step += 32) {
    float even = 0.0f, odd = 0.0f;
    for (int64_t i = step; i < std::min(step + 32, k); i += 2) {
      even = std::fma(Rounded(x[i], true), Rounded(weights[i], true), even);
      odd = std::fma(Rounded(x[i + 1], true), Rounded(weights[i + 1], true), odd);
    }
    sum += even + odd;
  }
  return sum;
}

TEST(AmxTest, Bf16SumsInStepsOf32) {
  Random random(1);
  SCOPED_TRACE(random.Describe());
  std::vector<const KernelTable*> tables = {&EmulatedAmxKernels()};
  for (const Isa isa : SupportedIsas()) {
    if (isa == Isa::kAmx) tables.push_back(&KernelsFor(isa));
  }
  for (const KernelTable* table : tables) {
    const auto backend = CreateCpuBackend(*table, 2);
    for (int round = 0; round < 20; ++round) {
      const int64_t m = random.Between(1, 40), n = random.Between(1, 130), k = 2 * random.Between(2, 200);
      const int64_t leaves[] = {0, 2 * random.Between(1, k / 2 - 1), k};
      SCOPED_TRACE("m " + std::to_string(m) + ", n " + std::to_string(n) + ", k " + std::to_string(leaves[1]) + " + " +
                   std::to_string(k - leaves[1]));
      const std::vector<float> x = random.Normals(m * k), weights = random.Normals(n * k);
      const Buffer packed(*backend, backend->PackedBytes(WeightType::kBFloat16, n, k));
      for (int64_t row = 0; row < n; row += kPanelColumns) {
        backend->PackPanel(WeightType::kBFloat16, weights.data() + row * k, std::min(kPanelColumns, n - row),
                           row / kPanelColumns, k, packed.get());
      }
      std::vector<float> y(m * n), expected(m * n);
      backend->MatMul({.x = x.data(),
                       .x_stride = k,
                       .weights = packed.get(),
                       .format = WeightType::kBFloat16,
                       .y = y.data(),
                       .y_stride = n,
                       .m = m,
                       .n = n,
                       .k = k,
                       .leaf_start = leaves,
                       .num_leaves = 2});
      for (int64_t i = 0; i < m; ++i) {
        for (int64_t j = 0; j < n; ++j) {
          const float *x_row = x.data() + i * k, *w_row = weights.data() + j * k;
          expected[i * n + j] =
              Bf16Leaf(x_row, w_row, leaves[1]) + Bf16Leaf(x_row + leaves[1], w_row + leaves[1], k - leaves[1]);
        }
      }
      EXPECT_TRUE(SameBits(y, expected));
    }
  }
}

// A thread that keeps its tiles makes every switch to another one dearer.
TEST(AmxTest, TilesAreReleased) {
  const auto backend = CreateCpuBackend(EmulatedAmxKernels(), 1);
  for (const WeightFormat& format :
       {WeightFormat(WeightType::kBFloat16), WeightFormat(WeightType::kInt8, 0, ScaleType::kFloat32, false)}) {
    const int64_t leaves[] = {0, 64};
    const Buffer packed(*backend, backend->PackedBytes(format, 1, 64));
    const std::vector<float> x(8 * 64, 1.0f);
    std::vector<float> y(8);
    backend->MatMul({x.data(), 64, packed.get(), format, nullptr, y.data(), 1, 8, 1, 64, leaves, 1});
    EXPECT_TRUE(EmulatedTiles::is_released());
  }
}

// Memory that ends where a page begins which nobody may touch.
class GuardedBuffer {
 public:
  explicit GuardedBuffer(int64_t bytes) : bytes_(static_cast<size_t>(bytes)) {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE)), usable = (bytes_ + page - 1) / page * page;
    mapped_bytes_ = usable + page;
    mapping_ =
        static_cast<char*>(mmap(nullptr, mapped_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (mapping_ == MAP_FAILED || mprotect(mapping_ + usable, page, PROT_NONE) != 0) std::abort();
    data_ = mapping_ + usable - bytes_;
  }
  ~GuardedBuffer() { munmap(mapping_, mapped_bytes_); }
  GuardedBuffer(const GuardedBuffer&) = delete;
  GuardedBuffer& operator=(const GuardedBuffer&) = delete;
  template <typename T>
  T* get() const {
    return reinterpret_cast<T*>(data_);
  }

 private:
  size_t bytes_, mapped_bytes_;
  char *mapping_, *data_;
};

class RowsKernelTest : public EveryMachineTest {};

// A tile of fewer rows must not be read, nor written, as a whole one; nor a shorter step of k.
TEST_P(RowsKernelTest, StayWithinTheirRows) {
  const KernelTable& table = *GetParam().kernels;
  for (const int64_t rows : {16 + 3, 2}) {
    const GuardedBuffer sums(rows * kPanelColumns * 4);
    if (const RowsFunction kernel = table.matmul[static_cast<int>(WeightType::kBFloat16)].rows) {
      const int64_t k = 128 + 32 + 6;
      const GuardedBuffer x(rows * k * 2), weights(k * kPanelColumns * 2);
      kernel({.x = x.get<char>(), .x_stride = k, .weights = weights.get<char>(), .k = k, .sums = sums.get<float>()},
             rows);
    }
    if (table.integer.rows == nullptr) continue;
    for (const WeightFormat& format : {WeightFormat{WeightType::kInt8, 0, ScaleType::kFloat32, false},
                                       WeightFormat{WeightType::kInt8, 16, ScaleType::kFloat16, true},
                                       WeightFormat{WeightType::kInt4, 32, ScaleType::kFloat16, false}}) {
      const int64_t k = 512 + 32, blocks = k / IntegerLayout(format, k).block();
      const GuardedBuffer x(rows * k), x_sums(rows * blocks * 4), x_shifts(rows * blocks * 4), x_scales(rows * 4);
      const IntegerLayout layout(format, k);
      const GuardedBuffer weights(layout.panel_bytes() - (format.group == 0 ? layout.header_bytes() : 0));
      const GuardedBuffer scales(layout.header_bytes());
      table.integer.rows({.format = &format,
                          .x = x.get<int8_t>(),
                          .x_sums = x_sums.get<int32_t>(),
                          .x_shifts = x_shifts.get<int32_t>(),
                          .x_scales = x_scales.get<float>(),
                          .x_stride = k,
                          .x_block_stride = blocks,
                          .weights = weights.get<char>(),
                          .scales = scales.get<char>(),
                          .k = k,
                          .sums = sums.get<float>()},
                         rows);
    }
  }
}
INSTANTIATE_TEST_SUITE_P(EveryMachine, RowsKernelTest, testing::ValuesIn(Machines()),
                         [](const auto& info) { return info.param.name; });

#ifdef MESH_KERNELS_X86
template <typename Tiles>
struct Products {
  int32_t integers[16][16];
  float floats[16][16];

  void Run(const amx::TileConfig& config, const int8_t (&a)[16][64], const int8_t (&b)[16][64]) {
    Tiles::Configure(config);
    Tiles::template Load<0>(integers, 64);
    Tiles::template Load<1>(floats, 64);
    Tiles::template Load<2>(a, 64);
    Tiles::template Load<3>(b, 64);
    Tiles::template DotInt8<0, 2, 3>();
    Tiles::template DotBf16<1, 2, 3>();
    Tiles::template Store<0>(integers, 64);
    Tiles::template Store<1>(floats, 64);
    Tiles::Release();
  }
};

// Any bytes are bf16 numbers, too: denormals among them, infinities and NaN. A NaN's own bits are not compared.
TEST(AmxTest, RegistersAreAsEmulated) {
  const std::vector<Isa> isas = SupportedIsas();
  if (std::find(isas.begin(), isas.end(), Isa::kAmx) == isas.end()) GTEST_SKIP() << "this machine has no AMX";
  Random random(2);
  SCOPED_TRACE(random.Describe());
  for (int round = 0; round < 200; ++round) {
    const int64_t rows = random.Between(1, 16), steps = random.Between(1, 16);
    amx::TileConfig config;
    for (const int sums : {0, 1}) amx::SetTile(config, sums, rows, 64);
    amx::SetTile(config, 2, rows, 4 * steps);
    amx::SetTile(config, 3, steps, 64);
    int8_t a[16][64], b[16][64];
    Products<EmulatedTiles> expected;
    for (int r = 0; r < 16; ++r) {
      for (int c = 0; c < 64; ++c) {
        a[r][c] = static_cast<int8_t>(random.Between(-128, 127));
        b[r][c] = static_cast<int8_t>(random.Between(-128, 127));
      }
      for (int c = 0; c < 16; ++c) {
        expected.integers[r][c] = static_cast<int32_t>(random.Between(-1000, 1000));
        expected.floats[r][c] = random.Normal();
      }
    }
    Products<amx::Tiles> actual;
    std::memcpy(&actual, &expected, sizeof actual);
    expected.Run(config, a, b);
    actual.Run(config, a, b);
    for (int r = 0; r < 16; ++r) {
      for (int c = 0; c < 16; ++c) {
        ASSERT_EQ(actual.integers[r][c], expected.integers[r][c]);
        const float actual_float = actual.floats[r][c], expected_float = expected.floats[r][c];
        if (std::isnan(actual_float) && std::isnan(expected_float)) continue;
        ASSERT_EQ(std::bit_cast<uint32_t>(actual_float), std::bit_cast<uint32_t>(expected_float));
      }
    }
  }
}
#endif

}  // namespace
}  // namespace slmmesh::kernels
