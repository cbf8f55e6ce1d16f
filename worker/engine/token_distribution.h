// What a token is drawn from.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace slmmesh {

struct TokenDistribution {
  std::vector<uint32_t> ids;  // ascending
  std::vector<double> probabilities;

  double Of(uint32_t token) const {
    const auto found = std::lower_bound(ids.begin(), ids.end(), token);
    return found == ids.end() || *found != token ? 0 : probabilities[static_cast<size_t>(found - ids.begin())];
  }
};

}  // namespace slmmesh
