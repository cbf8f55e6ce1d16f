// Shared by the tests of this folder: random data from a printed seed, backends of every instruction set, buffers.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/bfloat16.h"
#include "kernels/cpu/kernel_table.h"

namespace slmmesh::kernels {

class Random {
 public:
  explicit Random(uint64_t seed) : seed_(seed), engine_(seed) {}
  std::string Describe() const { return "seed " + std::to_string(seed_); }

  int64_t Between(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(engine_); }
  float Normal() { return std::normal_distribution<float>()(engine_); }
  std::vector<float> Normals(int64_t count) {
    std::vector<float> values(count);
    for (float& value : values) value = Normal();
    return values;
  }
  template <typename T>
  void Shuffle(std::vector<T>& values) {
    std::shuffle(values.begin(), values.end(), engine_);
  }

 private:
  const uint64_t seed_;
  std::mt19937_64 engine_;
};

inline std::unique_ptr<Backend> MakeBackend(Isa isa, int threads) {
  return CreateCpuBackend({.threads = threads, .automatic_isa = false, .isa = isa});
}

// Memory of a backend, freed with this object.
class Buffer {
 public:
  Buffer(Backend& backend, size_t bytes) : backend_(&backend), data_(backend.Allocate(bytes)) {}
  ~Buffer() { backend_->Free(data_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  void* get() const { return data_; }

 private:
  Backend* backend_;
  void* data_;
};

// Whether activations are rounded to bf16 where weights or a cache are.
inline bool RoundsToBf16(Isa isa) { return isa == Isa::kAvx512Bf16 || isa == Isa::kAmx; }
inline float Rounded(float value, bool to_bf16) { return to_bf16 ? Bf16ToFloat(FloatToBf16(value)) : value; }

// Bits, not values: tells -0 from 0 and one NaN from another.
inline bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return false;
  return a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace slmmesh::kernels
