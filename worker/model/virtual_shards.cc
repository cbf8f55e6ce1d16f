#include "worker/model/virtual_shards.h"

#include <cstdlib>

namespace slmmesh {
namespace {

// Fills starts[leaf_begin] … starts[leaf_end - 1]; the last entry, starts[kVirtualShards], is the caller's.
void Halve(int64_t begin, int64_t end, int leaf_begin, int leaf_end, LeafStarts* starts) {
  if (leaf_end - leaf_begin == 1) {
    (*starts)[leaf_begin] = begin;
    return;
  }
  const int64_t middle = begin + (end - begin + 1) / 2;  // the left half takes the odd unit
  const int leaf_middle = (leaf_begin + leaf_end) / 2;
  Halve(begin, middle, leaf_begin, leaf_middle, starts);
  Halve(middle, end, leaf_middle, leaf_end, starts);
}

}  // namespace

LeafStarts HalveIntoLeaves(int64_t units) {
  if (units < 0) std::abort();
  LeafStarts starts;
  Halve(0, units, 0, kVirtualShards, &starts);
  starts[kVirtualShards] = units;
  return starts;
}

UnitRange RankRange(const LeafStarts& leaves, int rank, int size) {
  if (size < 1 || kVirtualShards % size != 0 || rank < 0 || rank >= size) std::abort();
  const int leaves_per_rank = kVirtualShards / size;
  return {leaves[rank * leaves_per_rank], leaves[(rank + 1) * leaves_per_rank]};
}

uint32_t ContributorMask(const LeafStarts& leaves, int size) {
  uint32_t mask = 0;
  for (int rank = 0; rank < size; ++rank) {
    if (RankRange(leaves, rank, size).size() > 0) mask |= uint32_t{1} << rank;
  }
  return mask;
}

}  // namespace slmmesh
