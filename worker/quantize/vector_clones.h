// Functions compiled for several widths of vectors, the best chosen when the program starts. The compiler neither fuses
// nor reorders anything (-ffp-contract=off), so no bit depends on it.
#pragma once

#include <cstdint>

// A sanitizer's runtime is not up yet when the loader makes that choice.
#if defined(__x86_64__) && !defined(MESH_SANITIZE_THREAD) && !defined(__SANITIZE_ADDRESS__)
#define MESH_VECTOR_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define MESH_VECTOR_CLONES
#endif

namespace slmmesh {

// a · b, in kLanes sums that vectorise. For use within a function that is cloned.
template <int kLanes, typename T>
[[gnu::always_inline]] inline T DotInLanes(const T* a, const T* b, int64_t count) {
  T lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] += a[i + lane] * b[i + lane];
  }
  T sum = 0;
  for (; i < count; ++i) sum += a[i] * b[i];
  for (const T lane : lanes) sum += lane;
  return sum;
}

}  // namespace slmmesh
