// One bidirectional gRPC stream over a connection of its own (HTTP/2 by nghttp2, mutual TLS), served by a loop. What
// arrives is handed over on the loop's thread without a change of threads: with gRPC's own library every message costs
// two (its poller's, and the one back to the loop).
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "common/tls.h"

namespace slmmesh {

class Loop;

class GrpcStream {
 public:
  // Called on the loop's thread.
  class Handler {
   public:
    virtual ~Handler() = default;
    virtual void OnMessage(std::string_view message) = 0;
    // Once, last: the call's status, or UNAVAILABLE where the connection failed or fell silent.
    virtual void OnClosed(const absl::Status& status) = 0;
  };
  struct Options {
    TlsFiles tls;
    std::string cluster;
    Role role = Role::kWorker;  // of the server
    std::string endpoint;       // host:port
    std::string method;         // "/package.Service/Method"
    // It is asked for a sign of life every second pulse, and taken for dead when none comes within one.
    std::chrono::milliseconds pulse{5000};
  };

  // Connects and calls. `handler` must live until OnClosed, or until the loop has stopped.
  static std::shared_ptr<GrpcStream> Open(Loop* loop, Options options, Handler* handler);
  virtual ~GrpcStream() = default;

  // Any thread. What is sent in one turn of the loop goes out together. Dropped after the close.
  virtual void Send(std::string_view message) = 0;
  virtual void Close() = 0;
  // When the loop has stopped, and before it is destroyed: lets go of it. No OnClosed follows.
  virtual void Abandon() = 0;
};

}  // namespace slmmesh
