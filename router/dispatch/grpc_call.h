// The bytes of one gRPC call on an HTTP/2 connection of its own, as a client sees it: no sockets, no threads. One
// thread at a time.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace slmmesh {

class GrpcCall {
 public:
  // Of one message, either way (as common/tls_grpc.cc allows); a longer one ends the call.
  static constexpr size_t kMaxMessageBytes = 64 << 20;

  GrpcCall();
  ~GrpcCall();
  GrpcCall(const GrpcCall&) = delete;
  GrpcCall& operator=(const GrpcCall&) = delete;

  // The connection's preface and the call's headers; messages sent before follow them.
  void Begin(const std::string& authority, const std::string& method);
  bool begun() const;
  void Send(std::string_view message);
  void Ping();
  void Cancel();
  // What is to be written, in order; valid until the next call.
  std::string_view TakeOutput();

  // Takes what was read and hands out the messages that are complete. False: the call is over, see status().
  using OnMessage = std::function<void(std::string_view message)>;
  bool Receive(std::string_view bytes, const OnMessage& on_message);
  const absl::Status& status() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace slmmesh
