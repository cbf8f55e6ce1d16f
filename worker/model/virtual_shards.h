// How every model is cut, whatever the tensor-parallel degree: into eight virtual shards (leaves) by halving, fixed by
// the model's shape. A row-parallel product is one partial sum per leaf, joined by halving; a rank of degree 1, 2, 4 or
// 8 owns a whole subtree, so all degrees add in the same order and agree to the bit. Leaves may be uneven or empty
// (three KV heads give leaves 1,0,1,0,1,0,0,0): an empty leaf is absent from the sum.
#pragma once

#include <array>
#include <cstdint>

namespace slmmesh {

constexpr int kVirtualShards = 8;

// starts[l] … starts[l + 1] are the units of leaf l. A range of n units is halved into ceil(n / 2) and floor(n / 2).
using LeafStarts = std::array<int64_t, kVirtualShards + 1>;
LeafStarts HalveIntoLeaves(int64_t units);

struct UnitRange {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t size() const { return end - begin; }
};
// The units of rank `rank` of `size` (1, 2, 4 or 8): its subtree of leaves.
UnitRange RankRange(const LeafStarts& leaves, int rank, int size);

// Bit r is set when rank r of `size` owns at least one unit.
uint32_t ContributorMask(const LeafStarts& leaves, int size);

}  // namespace slmmesh
