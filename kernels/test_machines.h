// The machines that tests of products run over: every instruction set, and the kernels over tile registers with those
// emulated, so that their whole logic runs where no AMX is.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <ostream>
#include <string>
#include <vector>

#include "kernels/cpu/amx/bf16_rows.h"
#include "kernels/cpu/amx/emulated_tiles.h"
#include "kernels/cpu/amx/integer_unit.h"
#include "kernels/cpu/half.h"
#include "kernels/cpu/integer_rows.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/reference/vec16.h"

namespace slmmesh::kernels {

struct EmulatedAmxUnit : amx::IntegerUnit<amx::EmulatedTiles> {
  using Vec16 = reference::Vec16;
  static Vec16 LoadInts(const int32_t* p) {
    return Vec16::Each([&](int i) { return static_cast<float>(p[i]); });
  }
  static Vec16 LoadHalf(const uint16_t* p) {
    return Vec16::Each([&](int i) { return HalfToFloat(p[i]); });
  }
};

inline void PackBf16(const float* x, int64_t k, void* packed) {
  for (int64_t i = 0; i < k; ++i) static_cast<BFloat16*>(packed)[i] = FloatToBf16(x[i]);
}

constexpr int64_t kLeastRows = 3;  // so that products of both ways meet, whichever is faster

// The reference but for the products.
inline const KernelTable& EmulatedAmxKernels() {
  static const KernelTable table = [] {
    KernelTable result = ReferenceKernels();
    result.isa = Isa::kAmx;
    result.integer.rows = IntegerRows<EmulatedAmxUnit>::Run;
    result.integer.least_rows = kLeastRows;
    MatMulKernels& bf16 = result.matmul[static_cast<int>(WeightType::kBFloat16)];
    bf16.pack_row = PackBf16;
    bf16.rows = amx::Bf16Rows<amx::EmulatedTiles>::Run;
    return result;
  }();
  return table;
}

struct Machine {
  std::string name;
  const KernelTable* kernels;  // null where the processor lacks it
  int64_t max_m, max_groups;   // of a product that takes no time
};

inline void PrintTo(const Machine& machine, std::ostream* out) { *out << machine.name; }

inline const KernelTable* TableFor(Isa isa) {
  const KernelTable& table = KernelsFor(isa);
  if (table.integer.rows == nullptr) return &table;
  static std::map<Isa, KernelTable> copies;
  KernelTable& copy = copies.emplace(isa, table).first->second;
  copy.integer.least_rows = kLeastRows;
  return &copy;
}

inline std::vector<Machine> Machines() {
#ifdef MESH_KERNELS_ARM
  const std::vector<Isa> known = {Isa::kReference, Isa::kNeon, Isa::kNeonDotprod, Isa::kNeonI8mm};
#else
  const std::vector<Isa> known = {Isa::kReference,  Isa::kAvx2,       Isa::kAvxVnni, Isa::kAvx512,
                                  Isa::kAvx512Vnni, Isa::kAvx512Bf16, Isa::kAmx};
#endif
  const std::vector<Isa> supported = SupportedIsas();
  std::vector<Machine> machines;
  for (const Isa isa : known) {
    const bool has = std::find(supported.begin(), supported.end(), isa) != supported.end();
    const bool slow = isa == Isa::kReference;
    machines.push_back({IsaName(isa), has ? TableFor(isa) : nullptr, slow ? 5 : 210, slow ? 3 : 50});
  }
  machines.push_back({"emulated_amx", &EmulatedAmxKernels(), 60, 20});
  return machines;
}

class EveryMachineTest : public testing::TestWithParam<Machine> {
 protected:
  void SetUp() override {
    if (GetParam().kernels == nullptr) GTEST_SKIP() << "this processor lacks " << GetParam().name;
  }
};

}  // namespace slmmesh::kernels
