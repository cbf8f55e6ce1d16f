// One encrypted connection between two ranks, non-blocking: callers poll and keep the deadlines.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

typedef struct ssl_st SSL;
typedef struct ssl_ctx_st SSL_CTX;

namespace slmmesh {

// One thread uses it; ShutDown() comes from any thread.
class TlsStream {
 public:
  enum class Side { kClient, kServer };

  // Takes a connected socket (also when it fails), makes it non-blocking and without delay.
  static absl::StatusOr<std::unique_ptr<TlsStream>> Create(int fd, const std::shared_ptr<SSL_CTX>& context, Side side);
  ~TlsStream();
  TlsStream(const TlsStream&) = delete;
  TlsStream& operator=(const TlsStream&) = delete;

  // True when the handshake is done and the peer is a worker of `cluster`; false: poll for events(), then again.
  absl::StatusOr<bool> Handshake(const std::string& cluster);
  // How many bytes went through; 0: would block. UNAVAILABLE when the peer is gone.
  absl::StatusOr<size_t> ReadSome(absl::Span<char> out);
  absl::StatusOr<size_t> WriteSome(absl::Span<const char> bytes);

  int fd() const { return fd_; }
  short events() const { return events_; }  // what to poll for after the last call that would block
  void ShutDown();                          // ends all use, here and at the peer

 private:
  TlsStream(int fd, SSL* ssl) : fd_(fd), ssl_(ssl) {}
  absl::StatusOr<size_t> Finish(int result, size_t done, const char* what);

  const int fd_;
  SSL* const ssl_;
  short events_ = 0;
};

}  // namespace slmmesh
