// A TCP socket with TLS on it, of which every call returns at once: OpenSSL works on the socket itself, so that a
// message costs one system call. One thread at a time.
#pragma once

#include <openssl/ssl.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace slmmesh {

class TlsSocket {
 public:
  TlsSocket(boost::asio::io_context& context, SSL_CTX* tls);

  boost::asio::ip::tcp::socket& tcp() { return tcp_; }  // to connect, and to wait on
  SSL* tls() { return tls_.get(); }

  // Once connected: the client's side of a handshake for `protocol` (ALPN), which reads and writes carry on.
  absl::Status Begin(std::string_view protocol);
  // What has arrived, until the next call; empty: nothing, wait. An error: the connection is over.
  absl::Status Read(std::string_view* bytes);
  bool has_pending() const { return SSL_has_pending(tls_.get()) == 1; }  // read again before waiting
  // Writes what it can; the rest stays here and goes with the next call.
  absl::Status Write(std::string_view bytes);
  bool wants_write() const { return wants_write_; }  // when the socket has room again, call Write
  void Close();

 private:
  struct FreeTls {
    void operator()(SSL* tls) const { SSL_free(tls); }
  };
  absl::Status Check(int result, const char* doing);

  boost::asio::ip::tcp::socket tcp_;
  std::unique_ptr<SSL, FreeTls> tls_;
  std::vector<char> input_;
  std::string output_;  // not yet taken by TLS
  bool wants_write_ = false;
};

}  // namespace slmmesh
