// What the dispatcher knows of one group in one epoch. Guarded by the dispatcher's mutex.
#pragma once

#include <memory>
#include <string>

#include "absl/time/time.h"
#include "router/dispatch/admission.h"
#include "router/dispatch/block_set.h"
#include "router/dispatch/worker_session.h"
#include "slmmesh/v1/head.pb.h"

namespace grpc {
class Channel;
}

namespace slmmesh {

struct DispatchGroup {
  std::string group_id;
  uint64_t epoch = 0;
  std::string model_key;
  std::string endpoint;
  bool ready = false;                                // the table says so
  bool draining = false;                             // too: for requests that no other group can take
  bool retired = false;                              // out of the table: the session ends with its last request
  absl::Time unlisted_since = absl::InfinitePast();  // InfinitePast: the last table holds it

  std::shared_ptr<grpc::Channel> channel;
  std::shared_ptr<WorkerSession> session;  // null: closed
  bool welcomed = false;                   // the worker confirmed group and epoch
  absl::Time retry_at = absl::InfinitePast();

  v1::LoadReport load;
  BlockSet blocks;
  uint32_t sent_requests = 0;  // since the last load report
  uint64_t sent_prompt_tokens = 0;
  uint32_t active = 0;  // this router's choices there
  uint32_t queued = 0;  // of them without an output
  double service_seconds = 0;

  GroupQueue Queue() const {
    GroupQueue queue;
    queue.requests = load.running() + load.waiting() + sent_requests;
    queue.max_running = load.max_running();
    queue.waiting_prompt_tokens = load.waiting_prompt_tokens() + sent_prompt_tokens;
    queue.prefill_tokens_per_second = load.prefill_tokens_per_second();
    queue.service_seconds = service_seconds;
    return queue;
  }
};

}  // namespace slmmesh
