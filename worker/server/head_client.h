// The worker's stream to the head: offers a seat, tells the status, hears of assignments. Losing the head changes
// nothing for a group that serves; the stream is opened again and again, and the offer says which seat is held.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/time/time.h"
#include "common/tls.h"
#include "slmmesh/v1/head.pb.h"

namespace slmmesh {

// Thread-safe. The callbacks come from the client's own threads, one at a time.
class HeadClient {
 public:
  struct Options {
    std::string head;  // host:port
    TlsFiles tls;
    std::string cluster;
    v1::Offer offer;  // without the seat
  };
  // Called on the client's own thread.
  struct Callbacks {
    std::function<void(const v1::Assignment&)> on_assignment;
    std::function<void(const v1::Release&)> on_release;
    std::function<void(const v1::Drain&)> on_drain;
  };
  static std::unique_ptr<HeadClient> Create(Options options);
  virtual ~HeadClient() = default;  // leaves

  // Once: begins to dial, and goes on until Leave().
  virtual void Start(Callbacks callbacks) = 0;
  // Sent soon; of several statuses the last one counts.
  virtual void SetStatus(const v1::WorkerStatus& status) = 0;
  // Sent with the next heartbeat.
  virtual void SetLoad(const v1::LoadReport& load) = 0;
  // Says from now on, at once for the first time, that this worker leaves.
  virtual void AnnounceLeaving() = 0;
  // Closes the stream in order; nothing is sent or heard when it returns.
  virtual void Leave() = 0;
};

}  // namespace slmmesh
