// Norms, SiLU, Add, packing and rounding.
#include <cmath>
#include <limits>

#include "kernels/test_util.h"

namespace slmmesh::kernels {
namespace {

class RowOpsTest : public testing::TestWithParam<Isa> {
 protected:
  const std::unique_ptr<Backend> backend_ = MakeBackend(GetParam(), 2);
  const std::unique_ptr<Backend> reference_ = MakeBackend(Isa::kReference, 1);
};

// The product of `x` with a matrix of one row; rows that have a source are written to x.
std::vector<float> Multiply(Backend& backend, const WeightFormat& format, RowSource source, int64_t m,
                            std::vector<float>* x) {
  const int64_t k = static_cast<int64_t>(x->size()) / m;
  const Buffer weights(backend, backend.PackedBytes(format, 1, k));
  if (format.is_integer()) {
    const std::vector<int8_t> quants(k, 3);
    const std::vector<float> scales(k, 0.5f);
    backend.PackPanel(format, QuantizedRows{quants.data(), scales.data(), nullptr, 1}, 0, k, weights.get());
  } else {
    const std::vector<float> row(k, 0.75f);
    backend.PackPanel(format.type, row.data(), 1, 0, k, weights.get());
  }
  source.rows = x->data();
  std::vector<float> y(m);
  const int64_t one_leaf[] = {0, k};
  backend.MatMul({x->data(), k, weights.get(), format, nullptr, y.data(), 1, m, 1, k, one_leaf, 1, source});
  return y;
}

std::vector<float> Made(Backend& backend, const RowSource& source, int64_t m, int64_t k) {
  std::vector<float> rows(m * k);
  Multiply(backend, WeightType::kFloat32, source, m, &rows);
  return rows;
}

RowSource Norm(std::vector<float>& residual, const float* delta, const std::vector<float>& weight) {
  RowSource source;
  source.kind = RowSource::Kind::kRmsNorm;
  source.residual = residual.data();
  source.delta = delta;
  source.weight = weight.data();
  source.epsilon = 1e-5f;
  return source;
}

RowSource Silu(const std::vector<float>& gate_up) {
  RowSource source;
  source.kind = RowSource::Kind::kSiluMul;
  source.gate_up = gate_up.data();
  return source;
}

TEST_P(RowOpsTest, RmsNorm) {
  Random random(21);
  SCOPED_TRACE(random.Describe());
  for (const int64_t h : {2, 14, 16, 18, 64, 100, 576, 4098}) {
    const int64_t m = random.Between(1, 9);
    auto x = random.Normals(m * h);
    const auto before = x, weight = random.Normals(h);
    const auto y = Made(*backend_, Norm(x, nullptr, weight), m, h);
    EXPECT_TRUE(SameBits(y, Made(*reference_, Norm(x, nullptr, weight), m, h))) << h;
    EXPECT_TRUE(SameBits(x, before)) << h;
    for (int64_t row = 0; row < m; ++row) {
      double squares = 0.0;
      for (int64_t i = 0; i < h; ++i) squares += static_cast<double>(x[row * h + i]) * x[row * h + i];
      const double inverse = 1.0 / std::sqrt(squares / static_cast<double>(h) + 1e-5);
      // Positive terms: h / 16 + 4 roundings in the sum, halved by the root, and half a dozen after it.
      const double relative = (static_cast<double>(h) / 16 + 12) * 0x1p-24;
      for (int64_t i = 0; i < h; ++i) {
        const double expected = x[row * h + i] * inverse * weight[i];
        ASSERT_NEAR(y[row * h + i], expected, std::abs(expected) * relative) << h;
      }
    }
  }
}

TEST_P(RowOpsTest, ANormWithADeltaIsAddThenNorm) {
  Random random(22);
  SCOPED_TRACE(random.Describe());
  for (const int64_t h : {2, 30, 64, 578, 2048}) {
    const int64_t m = random.Between(1, 20);
    const auto delta = random.Normals(m * h), weight = random.Normals(h);
    std::vector<float> residual = random.Normals(m * h), apart = residual;
    const auto y = Made(*backend_, Norm(residual, delta.data(), weight), m, h);
    backend_->Add(apart.data(), delta.data(), m * h);
    EXPECT_TRUE(SameBits(residual, apart)) << h;
    EXPECT_TRUE(SameBits(y, Made(*backend_, Norm(apart, nullptr, weight), m, h))) << h;
  }
}

TEST_P(RowOpsTest, SiluMul) {
  Random random(23);
  SCOPED_TRACE(random.Describe());
  for (const int64_t i : {2, 6, 16, 50, 1536, 9000}) {
    const int64_t m = random.Between(1, 6);
    auto gate_up = random.Normals(m * 2 * i);
    for (float& value : gate_up) value *= 20.0f;  // far into both tails
    const auto y = Made(*backend_, Silu(gate_up), m, i);
    EXPECT_TRUE(SameBits(y, Made(*reference_, Silu(gate_up), m, i))) << i;
    for (int64_t row = 0; row < m; ++row) {
      for (int64_t j = 0; j < i; ++j) {
        const double gate = gate_up[row * 2 * i + j], up = gate_up[row * 2 * i + i + j];
        const double expected = gate / (1.0 + std::exp(-gate)) * up;
        ASSERT_NEAR(y[row * i + j], expected, std::abs(expected) * 6 * 0x1p-24 + 1e-30) << gate << " " << up;
      }
    }
  }
}

TEST_P(RowOpsTest, SiluKeepsNaN) {
  const std::vector<float> gate_up = {std::numeric_limits<float>::quiet_NaN(), 1.0f, 1.0f, 1.0f};
  EXPECT_TRUE(std::isnan(Made(*backend_, Silu(gate_up), 1, 2)[0]));
}

// Of every format, packed by one thread or by all.
TEST_P(RowOpsTest, AProductOfMadeRowsIsThatOfRowsThatWereThere) {
  Random random(26);
  SCOPED_TRACE(random.Describe());
  for (const WeightFormat& format : {WeightFormat(WeightType::kFloat32), WeightFormat(WeightType::kBFloat16),
                                     WeightFormat(WeightType::kInt8, 0, ScaleType::kFloat32, false),
                                     WeightFormat(WeightType::kInt8, 16, ScaleType::kFloat16, false),
                                     WeightFormat(WeightType::kInt4, 32, ScaleType::kFloat16, false)}) {
    for (const int64_t m : {1, 5, 80}) {
      const int64_t k = 192;
      std::vector<float> residual = random.Normals(m * k), made(m * k);
      const auto delta = random.Normals(m * k), weight = random.Normals(k), gate_up = random.Normals(m * 2 * k);
      for (const RowSource& source : {Norm(residual, delta.data(), weight), Silu(gate_up)}) {
        const auto y = Multiply(*backend_, format, source, m, &made);
        auto there = made;
        EXPECT_TRUE(SameBits(y, Multiply(*backend_, format, {}, m, &there))) << m;
        EXPECT_TRUE(SameBits(made, there)) << m;
        if (source.kind != RowSource::Kind::kSiluMul) continue;
        EXPECT_TRUE(SameBits(made, Made(*reference_, source, m, k))) << m;
      }
    }
  }
}

TEST_P(RowOpsTest, Add) {
  Random random(24);
  SCOPED_TRACE(random.Describe());
  for (const int64_t count : {0, 1, 63, 8192, 8193, 100000}) {
    auto a = random.Normals(count);
    const auto b = random.Normals(count);
    auto expected = a;
    for (int64_t i = 0; i < count; ++i) expected[i] += b[i];
    backend_->Add(a.data(), b.data(), count);
    EXPECT_TRUE(SameBits(a, expected)) << count;
  }
}

INSTANTIATE_TEST_SUITE_P(EveryIsa, RowOpsTest, testing::ValuesIn(SupportedIsas()),
                         [](const auto& info) { return IsaName(info.param); });

TEST(BFloat16Test, RoundsToNearestEven) {
  EXPECT_EQ(FloatToBf16(1.0f), 0x3f80);
  EXPECT_EQ(FloatToBf16(std::bit_cast<float>(0x3f808000u)), 0x3f80);  // a tie: to the even one below
  EXPECT_EQ(FloatToBf16(std::bit_cast<float>(0x3f818000u)), 0x3f82);  // a tie: to the even one above
  EXPECT_EQ(FloatToBf16(std::bit_cast<float>(0x3f808001u)), 0x3f81);
  EXPECT_EQ(FloatToBf16(-std::bit_cast<float>(0x3f807fffu)), 0xbf80);
  EXPECT_EQ(FloatToBf16(std::numeric_limits<float>::max()), 0x7f80);  // beyond the largest: infinity
  EXPECT_EQ(FloatToBf16(-0.0f), 0x8000);
  EXPECT_TRUE(std::isnan(Bf16ToFloat(FloatToBf16(std::numeric_limits<float>::quiet_NaN()))));
  EXPECT_TRUE(std::isnan(Bf16ToFloat(FloatToBf16(std::bit_cast<float>(0x7f800001u)))));  // not infinity
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = Bf16ToFloat(static_cast<BFloat16>(bits));
    if (std::isnan(value)) continue;
    EXPECT_EQ(FloatToBf16(value), bits);
  }
}

TEST(PackTest, PanelsOfSixtyFourColumns) {
  Random random(25);
  SCOPED_TRACE(random.Describe());
  const auto backend = MakeBackend(Isa::kReference, 1);
  const int64_t n = 70, k = 38;
  const auto weights = random.Normals(n * k);
  for (const WeightType type : {WeightType::kFloat32, WeightType::kBFloat16}) {
    const size_t bytes = backend->PackedBytes(type, n, k);
    ASSERT_EQ(bytes, static_cast<size_t>(128 * k * (type == WeightType::kFloat32 ? 4 : 2)));
    const Buffer packed(*backend, bytes);
    ASSERT_EQ(reinterpret_cast<uintptr_t>(packed.get()) % kAlignment, 0u);
    std::memset(packed.get(), 0xff, bytes);
    backend->PackPanel(type, weights.data() + 64 * k, 6, 1, k, packed.get());  // in any order
    backend->PackPanel(type, weights.data(), 64, 0, k, packed.get());
    for (int64_t column = 0; column < 128; ++column) {
      for (int64_t i = 0; i < k; ++i) {
        const int64_t panel = column / 64 * 64 * k;
        const float expected = column < n ? weights[column * k + i] : 0.0f;
        if (type == WeightType::kFloat32) {
          EXPECT_EQ(static_cast<float*>(packed.get())[panel + i * 64 + column % 64], expected);
        } else {
          const int64_t offset = panel + (i / 2 * 64 + column % 64) * 2 + i % 2;
          EXPECT_EQ(static_cast<BFloat16*>(packed.get())[offset], FloatToBf16(expected));
        }
      }
    }
  }
}

TEST(AllocateTest, ZeroedAlignedAndHonestAboutFailure) {
  const auto backend = MakeBackend(Isa::kReference, 1);
  for (const size_t bytes : {size_t{1}, size_t{100}, size_t{5} << 20}) {
    const Buffer buffer(*backend, bytes);
    ASSERT_NE(buffer.get(), nullptr);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.get()) % kAlignment, 0u);
    const char* data = static_cast<const char*>(buffer.get());
    EXPECT_EQ(data[0], 0);
    EXPECT_EQ(data[bytes - 1], 0);
  }
  EXPECT_EQ(backend->Allocate(SIZE_MAX), nullptr);
  EXPECT_EQ(backend->Allocate(size_t{1} << 62), nullptr);
  backend->Free(nullptr);
}

TEST(CreateTest, RefusesWhatTheMachineLacks) {
  const std::vector<Isa> isas = SupportedIsas();
  EXPECT_EQ(isas.front(), Isa::kReference);
  EXPECT_NE(CreateCpuBackend({}), nullptr);
  for (const Isa isa : {Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Bf16, Isa::kAmx, Isa::kNeonI8mm}) {
    const bool supported = std::find(isas.begin(), isas.end(), isa) != isas.end();
    EXPECT_EQ(MakeBackend(isa, 1) != nullptr, supported) << IsaName(isa);
  }
  EXPECT_EQ(MakeBackend(Isa::kReference, 3)->Describe(), "cpu reference, 3 threads");
}

}  // namespace
}  // namespace slmmesh::kernels
