// Randomness of the operating system, for ids. Code under simulation takes its generator as a parameter instead.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace slmmesh {

uint64_t RandomUint64();
// `bytes` random bytes as lowercase hex, two digits each.
std::string RandomHexId(size_t bytes = 16);

}  // namespace slmmesh
