// How the units of one kind (serving groups of a worker group, routers, the head) get from what is there to what is
// wanted: never below the floor of units that serve, never above the wanted number and the surge. Pure, and made anew
// each time from what is there: whatever happened in between, the decision fits the present.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "operator/unit.h"

namespace slmmesh {

struct RolloutRules {
  uint32_t wanted = 0;       // units
  uint32_t surge = 1;        // above `wanted`, while units are exchanged
  uint32_t unavailable = 0;  // below it; surge 0 means at least 1
  // Of the revision that served last, as long as none of the wanted one has: while too little serves, its units are
  // made again. Other units that do not serve are just in the way. Empty: there is none.
  std::string proven_hash;
  // The deadline for progress has passed: no further unit is begun. The floor keeps what serves.
  bool is_frozen = false;
  // Units are to go, but others must serve first (a worker group that is no longer in the spec).
  bool hold = false;
};

// Units that serve, at least, as long as there are that many.
uint32_t FloorOf(const RolloutRules& rules);

struct RolloutDecision {
  uint32_t wanted_units = 0;  // of what is wanted now, to be there at this time
  uint32_t proven_units = 0;  // of the proven revision
  std::vector<bool> leaves;   // by unit: on its way out
};

RolloutDecision DecideRollout(const std::vector<Unit>& units, const RolloutRules& rules);

}  // namespace slmmesh
