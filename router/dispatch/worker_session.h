// The one stream to rank 0 of a group: it carries all of this router's requests there, and lives on one of the loops.
// Thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "router/dispatch/grpc_stream.h"
#include "slmmesh/v1/worker.pb.h"

namespace slmmesh {

class WorkerSession {
 public:
  // Called on the session's loop.
  class Listener {
   public:
    virtual ~Listener() = default;
    virtual void OnMessage(WorkerSession* session, std::shared_ptr<const v1::SessionResponse> message) = 0;
    // Once, last: every request on this stream is over. Not when the loop is stopped first.
    virtual void OnClosed(WorkerSession* session, const absl::Status& status) = 0;
  };

  // `listener` must outlive OnClosed or the loop, and the session must be kept until then.
  static std::shared_ptr<WorkerSession> Open(Loop* loop, GrpcStream::Options worker, const v1::SessionHello& hello,
                                             Listener* listener);
  virtual ~WorkerSession() = default;

  virtual const v1::SessionHello& hello() const = 0;
  // False when the stream is closed: nothing was sent. True: outputs or OnClosed will follow.
  virtual bool Submit(v1::Submit submit) = 0;
  virtual void Cancel(uint64_t handle) = 0;
  virtual void Close() = 0;
  virtual void Abandon() = 0;  // as GrpcStream's
};

}  // namespace slmmesh
