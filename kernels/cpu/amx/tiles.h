// The tile registers of this machine. Our own asm: g++'s intrinsics take literal numbers only, and its load does not
// say that it reads memory. Compilers allocate no tile registers, so there is nothing to clobber.
//
// Thread rule: registers and their shape belong to the thread. Configure, use and Release them within one call.
#pragma once

#include <cstdint>

#include "kernels/cpu/amx/tile_config.h"

namespace slmmesh::kernels::amx {

struct Tiles {
  static void Configure(const TileConfig& config) { asm volatile("ldtilecfg %0" : : "m"(config)); }
  static void Release() { asm volatile("tilerelease"); }  // else every switch of threads saves 8 KB

  template <int kTile>
  static void Zero() {
    asm volatile("tilezero %%tmm%c0" : : "i"(kTile));
  }
  template <int kTile>
  static void Load(const void* from, int64_t stride_bytes) {
    asm volatile("tileloadd (%1,%2,1), %%tmm%c0" : : "i"(kTile), "r"(from), "r"(stride_bytes) : "memory");
  }
  template <int kTile>
  static void Store(void* to, int64_t stride_bytes) {
    asm volatile("tilestored %%tmm%c0, (%1,%2,1)" : : "i"(kTile), "r"(to), "r"(stride_bytes) : "memory");
  }
  // sums [rows][16] += a [rows][4 k] * b [k][16][4] of signed bytes.
  template <int kSums, int kA, int kB>
  static void DotInt8() {
    asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSums), "i"(kA), "i"(kB));
  }
  // sums [rows][16] += a [rows][2 k] * b [k][16][2] of bf16: of the products of one call the even and the odd k are two
  // chains in fp32, which are added to each other and then to the sum. Denormals count as zero.
  template <int kSums, int kA, int kB>
  static void DotBf16() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSums), "i"(kA), "i"(kB));
  }
};

}  // namespace slmmesh::kernels::amx
