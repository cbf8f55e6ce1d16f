#include "worker/engine/waiting_queue.h"

#include <cassert>

namespace slmmesh {

void WaitingQueue::Add(Sequence* sequence) {
  const bool inserted = by_tenant_[sequence->tenant].insert(sequence).second;
  assert(inserted);
  (void)inserted;
  ++size_;
  num_prompt_tokens_ += sequence->num_tokens();
}

void WaitingQueue::Remove(Sequence* sequence) {
  const auto tenant = by_tenant_.find(sequence->tenant);
  assert(tenant != by_tenant_.end() && tenant->second.contains(sequence));
  tenant->second.erase(sequence);
  if (tenant->second.empty()) by_tenant_.erase(tenant);
  --size_;
  num_prompt_tokens_ -= sequence->num_tokens();
}

bool WaitingQueue::HasOtherTenantThan(const std::string& tenant) const {
  return by_tenant_.size() > 1 || (by_tenant_.size() == 1 && !by_tenant_.contains(tenant));
}

std::vector<Sequence*> WaitingQueue::Heads() const {
  std::vector<Sequence*> heads;
  heads.reserve(by_tenant_.size());
  for (const auto& [tenant, sequences] : by_tenant_) heads.push_back(*sequences.begin());
  return heads;
}

}  // namespace slmmesh
