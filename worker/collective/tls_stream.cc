#include "worker/collective/tls_stream.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>

#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "common/tls.h"

namespace slmmesh {
namespace {

// OpenSSL writes with write(2): without this a peer's death would kill the process instead of giving an error.
void IgnoreBrokenPipes() {
  static const bool done = [] {
    std::signal(SIGPIPE, SIG_IGN);
    return true;
  }();
  (void)done;
}

absl::Status CheckWorkerOf(SSL* ssl, const std::string& cluster) {
  X509* certificate = SSL_get1_peer_certificate(ssl);
  if (certificate == nullptr) return absl::UnauthenticatedError("the peer showed no certificate");
  const std::string name = absl::StrCat(std::string(RoleName(Role::kWorker)), ".", cluster, ".slmmesh");
  const bool matches =
      X509_check_host(certificate, name.data(), name.size(), X509_CHECK_FLAG_NO_WILDCARDS, nullptr) == 1;
  X509_free(certificate);
  if (SSL_get_verify_result(ssl) != X509_V_OK)
    return absl::UnauthenticatedError("the peer's certificate is not trusted");
  if (!matches) return absl::PermissionDeniedError(absl::StrCat("the peer is not ", name));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<TlsStream>> TlsStream::Create(int fd, const std::shared_ptr<SSL_CTX>& context,
                                                             Side side) {
  IgnoreBrokenPipes();
  const int on = 1;
  SSL* ssl = SSL_new(context.get());
  if (ssl == nullptr || fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) != 0 ||
      setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0 || SSL_set_fd(ssl, fd) != 1) {
    SSL_free(ssl);
    close(fd);
    return absl::InternalError("cannot set up a TLS connection");
  }
  SSL_set_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  side == Side::kClient ? SSL_set_connect_state(ssl) : SSL_set_accept_state(ssl);
  return std::unique_ptr<TlsStream>(new TlsStream(fd, ssl));
}

TlsStream::~TlsStream() {
  SSL_free(ssl_);
  close(fd_);
}

absl::StatusOr<bool> TlsStream::Handshake(const std::string& cluster) {
  ERR_clear_error();
  ASSIGN_OR_RETURN(const size_t done, Finish(SSL_do_handshake(ssl_), 1, "handshake"));
  if (done == 0) return false;
  RETURN_IF_ERROR(CheckWorkerOf(ssl_, cluster));
  return true;
}

absl::StatusOr<size_t> TlsStream::ReadSome(absl::Span<char> out) {
  ERR_clear_error();
  size_t done = 0;
  const int result = SSL_read_ex(ssl_, out.data(), out.size(), &done);
  return Finish(result, done, "read");
}

absl::StatusOr<size_t> TlsStream::WriteSome(absl::Span<const char> bytes) {
  ERR_clear_error();
  size_t done = 0;
  const int result = SSL_write_ex(ssl_, bytes.data(), bytes.size(), &done);
  return Finish(result, done, "write");
}

absl::StatusOr<size_t> TlsStream::Finish(int result, size_t done, const char* what) {
  if (result == 1) return done;
  switch (SSL_get_error(ssl_, result)) {
    case SSL_ERROR_WANT_READ:
      events_ = POLLIN;
      return 0;
    case SSL_ERROR_WANT_WRITE:
      events_ = POLLOUT;
      return 0;
    case SSL_ERROR_SSL: {
      const char* reason = ERR_reason_error_string(ERR_peek_error());
      return absl::UnavailableError(absl::StrCat("TLS ", what, ": ", reason == nullptr ? "failed" : reason));
    }
    default:
      return absl::UnavailableError(absl::StrCat("TLS ", what, ": the connection is closed"));
  }
}

void TlsStream::ShutDown() { shutdown(fd_, SHUT_RDWR); }

}  // namespace slmmesh
