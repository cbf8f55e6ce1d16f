// The requests that are not in the batch, by tenant: oldest first within a tenant.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "worker/engine/sequence.h"

namespace slmmesh {

// Not thread-safe. Holds state only for tenants that have a request here.
class WaitingQueue {
 public:
  // A request that comes back (preempted) is older than those that never ran: it goes ahead of them.
  void Add(Sequence* sequence);
  void Remove(Sequence* sequence);

  bool empty() const { return size_ == 0; }
  uint32_t size() const { return size_; }
  uint64_t num_prompt_tokens() const { return num_prompt_tokens_; }
  bool HasOtherTenantThan(const std::string& tenant) const;
  // The oldest request of each tenant.
  std::vector<Sequence*> Heads() const;

 private:
  struct Older {
    bool operator()(const Sequence* a, const Sequence* b) const { return a->arrival < b->arrival; }
  };

  std::map<std::string, std::set<Sequence*, Older>> by_tenant_;
  uint32_t size_ = 0;
  uint64_t num_prompt_tokens_ = 0;
};

}  // namespace slmmesh
