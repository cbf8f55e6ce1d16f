// Events that `kubectl describe` shows. Equal ones within ten minutes are one object with a count; a bounded queue and
// a rate limit per object keep a flapping cluster from flooding the API server. Never blocks, never fails a reconcile.
#pragma once

#include <memory>
#include <string>

#include "operator/kube/client.h"

namespace slmmesh::kube {

enum class EventType { kNormal, kWarning };

struct EventTarget {
  Resource resource;
  std::string ns, name, uid;
};

class EventRecorder {
 public:
  static std::unique_ptr<EventRecorder> Start(Client* client, const std::string& component);
  virtual ~EventRecorder() = default;  // writes what is queued, for a second at most
  virtual void Record(const EventTarget& target, EventType type, const std::string& reason,
                      const std::string& message) = 0;
};

}  // namespace slmmesh::kube
