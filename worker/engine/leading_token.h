// A token that was chosen, and how clearly.
#pragma once

#include <cstdint>

namespace slmmesh {

struct LeadingToken {
  uint32_t id = 0;
  float lead = 0;  // over the second best; infinite when there is none
};

}  // namespace slmmesh
