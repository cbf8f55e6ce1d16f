// How much memory the code under test holds at once: a parser must not take a false length at its word. Linking
// allocation_meter.cc replaces the global operator new of the test's binary.
#pragma once

#include <cstddef>

namespace slmmesh {

// Bytes held by operator new above what was held when the meter was made, at their peak. One meter at a time, one
// thread.
class AllocationMeter {
 public:
  AllocationMeter();
  size_t peak_bytes() const;

 private:
  size_t start_bytes_;
};

}  // namespace slmmesh
