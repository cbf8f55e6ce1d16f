// What the machine can do at this moment: measured right after every sample, as shared machines change within seconds.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/backend.h"

namespace slmmesh::kernels {

// Reads `bytes` (a multiple of 256) once; the result keeps the loads alive.
uint64_t ReadBytes(const void* data, size_t bytes);

// The instruction that bounds a matrix product of these weights on this instruction set, on registers alone. Returns
// the floating-point operations done in `rounds` rounds.
double RunPeakLoop(Isa isa, WeightType type, int64_t rounds);

}  // namespace slmmesh::kernels
