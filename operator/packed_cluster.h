// An ObservedCluster at rest: its messages as bytes, about a tenth of the parsed trees' memory.
#pragma once

#include <string>

#include "operator/observed.h"

namespace slmmesh {

class PackedCluster {
 public:
  PackedCluster() = default;
  explicit PackedCluster(ObservedCluster cluster);
  ObservedCluster Unpack() const;

  const std::string& uid() const { return small_.uid; }
  uint32_t generation() const { return small_.generation; }
  // Takes over all but the spec, of an observation of the same generation. Returns whether anything changed.
  bool UpdateWithoutSpec(ObservedCluster cluster);

 private:
  ObservedCluster small_;  // its messages are empty
  std::string spec_, raw_spec_, status_;
};

}  // namespace slmmesh
