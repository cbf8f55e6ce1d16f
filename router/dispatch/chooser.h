// Which group gets a request. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace slmmesh {

struct GroupCandidate {
  uint32_t cached_blocks = 0;  // leading blocks of the prompt that the group holds
  uint32_t requests = 0;       // running, waiting and on their way
  uint32_t max_running = 0;    // 0: unknown
  bool draining = false;
};

// The index of the choice: one that drains only where all do, then groups with a free place before full ones, then the
// longest cached prefix, then the least load; among equals the first after `turn`, so that an idle mesh spreads its
// requests. None: no candidates.
std::optional<uint32_t> ChooseGroup(std::span<const GroupCandidate> candidates, uint64_t turn);

}  // namespace slmmesh
