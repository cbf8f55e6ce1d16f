#include "operator/packed_cluster.h"

#include <google/protobuf/util/message_differencer.h>

#include <utility>

namespace slmmesh {
namespace {

template <typename T>
std::string Pack(T& message) {
  std::string bytes = message.SerializeAsString();
  message = T();
  return bytes;
}

}  // namespace

PackedCluster::PackedCluster(ObservedCluster cluster)
    : small_(std::move(cluster)),
      spec_(Pack(small_.spec)),
      raw_spec_(Pack(small_.raw_spec)),
      status_(Pack(small_.status)) {}

ObservedCluster PackedCluster::Unpack() const {
  ObservedCluster cluster = small_;
  cluster.spec.ParseFromString(spec_);
  cluster.raw_spec.ParseFromString(raw_spec_);
  cluster.status.ParseFromString(status_);
  return cluster;
}

bool PackedCluster::UpdateWithoutSpec(ObservedCluster cluster) {
  v1::InferenceClusterStatus old_status;
  old_status.ParseFromString(status_);
  const bool status_changed = !google::protobuf::util::MessageDifferencer::Equals(old_status, cluster.status);
  const bool changed =
      status_changed || small_.annotations != cluster.annotations || small_.deleting != cluster.deleting;
  if (status_changed) status_ = cluster.status.SerializeAsString();
  small_.annotations = std::move(cluster.annotations);
  small_.deleting = cluster.deleting;
  return changed;
}

}  // namespace slmmesh
