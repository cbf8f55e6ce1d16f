#include "kernels/bench_probes.h"

#ifdef MESH_KERNELS_X86
#include "kernels/cpu/amx/tiles.h"
#endif

namespace slmmesh::kernels {

uint64_t ReadBytes(const void* data, size_t bytes) {
  const uint64_t* words = static_cast<const uint64_t*>(data);
  uint64_t sums[32] = {};
  for (size_t i = 0; i < bytes / sizeof(uint64_t); i += 32) {
    __builtin_prefetch(words + i + 512);
    __builtin_prefetch(words + i + 520);
    __builtin_prefetch(words + i + 528);
    __builtin_prefetch(words + i + 536);
    for (size_t j = 0; j < 32; ++j) sums[j] ^= words[i + j];
  }
  uint64_t result = 0;
  for (const uint64_t sum : sums) result ^= sum;
  return result;
}

#ifdef MESH_KERNELS_X86
namespace {

// Four sums over two tiles of rows and two of columns.
double RunTiles(bool integer, int64_t rounds) {
  amx::TileConfig config;
  for (int tile = 0; tile < amx::kTiles; ++tile) {
    amx::SetTile(config, tile, amx::kRegisterRows, amx::kRegisterRowBytes);
  }
  amx::Tiles::Configure(config);  // zeroes them all
  for (int64_t i = 0; i < rounds; ++i) {
    if (integer) {
      amx::Tiles::DotInt8<0, 4, 6>();
      amx::Tiles::DotInt8<1, 4, 7>();
      amx::Tiles::DotInt8<2, 5, 6>();
      amx::Tiles::DotInt8<3, 5, 7>();
    } else {
      amx::Tiles::DotBf16<0, 4, 6>();
      amx::Tiles::DotBf16<1, 4, 7>();
      amx::Tiles::DotBf16<2, 5, 6>();
      amx::Tiles::DotBf16<3, 5, 7>();
    }
  }
  amx::Tiles::Release();
  // 16 x 16 sums of 64 bytes, products and sums counted each.
  return static_cast<double>(rounds) * 4 * 16 * 16 * (integer ? 64 : 32) * 2;
}

}  // namespace

// Twelve independent chains cover latency times throughput. Registers hold whatever they hold: zeroed first, so that
// no slow path of denormals is met.
#define MESH_PEAK_ROUND(op, reg)                                                                                      \
  op " %%" reg "12, %%" reg "13, %%" reg "0\n" op " %%" reg "12, %%" reg "13, %%" reg "1\n" op " %%" reg "12, %%" reg \
     "13, %%" reg "2\n" op " %%" reg "12, %%" reg "13, %%" reg "3\n" op " %%" reg "12, %%" reg "13, %%" reg "4\n" op  \
     " %%" reg "12, %%" reg "13, %%" reg "5\n" op " %%" reg "12, %%" reg "13, %%" reg "6\n" op " %%" reg "12, %%" reg \
     "13, %%" reg "7\n" op " %%" reg "12, %%" reg "13, %%" reg "8\n" op " %%" reg "12, %%" reg "13, %%" reg "9\n" op  \
     " %%" reg "12, %%" reg "13, %%" reg "10\n" op " %%" reg "12, %%" reg "13, %%" reg "11\n"
#define MESH_PEAK_LOOP(op, reg)                                                                                 \
  for (int64_t i = 0; i < rounds; ++i) {                                                                        \
    asm volatile(MESH_PEAK_ROUND(op, reg)::                                                                     \
                     : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", \
                       "xmm11");                                                                                \
  }
constexpr double kChains = 12;

double RunPeakLoop(Isa isa, WeightType type, int64_t rounds) {
  asm volatile("vzeroall" ::
                   : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
                     "xmm12", "xmm13", "xmm14", "xmm15");
  const double loops = static_cast<double>(rounds) * kChains;
  const bool integer = type == WeightType::kInt8 || type == WeightType::kInt4;
  if (isa == Isa::kAmx && type != WeightType::kFloat32) return RunTiles(integer, rounds / 8);
  if (integer && (isa == Isa::kAvx512Vnni || isa == Isa::kAvx512Bf16)) {
    MESH_PEAK_LOOP("vpdpbusd", "zmm")
    return loops * 128;  // 16 lanes, 4 products and 4 sums each
  }
  if (integer) {  // AVX2 has no dot product of bytes; half of one is vpmaddwd
    MESH_PEAK_LOOP("vpmaddwd", "ymm")
    return loops * 32;
  }
  if (isa == Isa::kAvx512Bf16 && type == WeightType::kBFloat16) {
    MESH_PEAK_LOOP("vdpbf16ps", "zmm")
    return loops * 64;  // 16 lanes, 2 products and 2 sums each
  }
  if (isa >= Isa::kAvx512) {
    MESH_PEAK_LOOP("vfmadd231ps", "zmm")
    return loops * 32;
  }
  MESH_PEAK_LOOP("vfmadd231ps", "ymm")
  return loops * 16;
}
#else
double RunPeakLoop(Isa, WeightType, int64_t) { return 0.0; }
#endif

}  // namespace slmmesh::kernels
