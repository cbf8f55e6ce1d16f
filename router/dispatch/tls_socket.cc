#include "router/dispatch/tls_socket.h"

#include <openssl/err.h>
#include <openssl/x509_vfy.h>

#include <csignal>

#include "absl/strings/str_cat.h"

namespace slmmesh {
namespace {

constexpr size_t kReadBytes = 64 << 10;

// A peer that went away is an error of write(), not the end of this process.
void IgnoreBrokenPipes() {
  static const auto ignored = std::signal(SIGPIPE, SIG_IGN);
  static_cast<void>(ignored);
}

}  // namespace

TlsSocket::TlsSocket(boost::asio::io_context& context, SSL_CTX* tls)
    : tcp_(context), tls_(SSL_new(tls)), input_(kReadBytes) {
  IgnoreBrokenPipes();
}

absl::Status TlsSocket::Begin(std::string_view protocol) {
  boost::system::error_code error;
  tcp_.non_blocking(true, error);
  if (!error) tcp_.set_option(boost::asio::ip::tcp::no_delay(true), error);
  if (error) return absl::UnavailableError(error.message());
  const std::string name = absl::StrCat(std::string(1, static_cast<char>(protocol.size())), std::string(protocol));
  SSL_set_alpn_protos(tls_.get(), reinterpret_cast<const unsigned char*>(name.data()), name.size());
  SSL_set_mode(tls_.get(), SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_set_read_ahead(tls_.get(), 1);  // a record and its header with one system call
  SSL_set_fd(tls_.get(), tcp_.native_handle());
  SSL_set_connect_state(tls_.get());
  return absl::OkStatus();
}

// OK: done, or to be tried again when the socket is ready.
absl::Status TlsSocket::Check(int result, const char* doing) {
  if (result > 0) return absl::OkStatus();
  switch (SSL_get_error(tls_.get(), result)) {
    case SSL_ERROR_WANT_WRITE:
      wants_write_ = true;
      return absl::OkStatus();
    case SSL_ERROR_WANT_READ:
      return absl::OkStatus();
    case SSL_ERROR_ZERO_RETURN:
      return absl::UnavailableError("the other side closed the connection");
    default:
      break;
  }
  const long verified = SSL_get_verify_result(tls_.get());
  if (verified != X509_V_OK) {
    ERR_clear_error();
    return absl::UnavailableError(absl::StrCat("its certificate: ", X509_verify_cert_error_string(verified)));
  }
  const unsigned long code = ERR_get_error();
  const char* reason = code == 0 ? "the connection broke" : ERR_reason_error_string(code);
  ERR_clear_error();
  return absl::UnavailableError(absl::StrCat(doing, ": ", reason == nullptr ? "no reason given" : reason));
}

absl::Status TlsSocket::Read(std::string_view* bytes) {
  *bytes = {};
  ERR_clear_error();
  const int size = SSL_read(tls_.get(), input_.data(), static_cast<int>(input_.size()));
  if (size > 0) *bytes = {input_.data(), static_cast<size_t>(size)};
  return Check(size, "reading");
}

absl::Status TlsSocket::Write(std::string_view bytes) {
  output_.append(bytes);
  wants_write_ = false;
  size_t written = 0;
  absl::Status status;
  while (status.ok() && written < output_.size()) {
    ERR_clear_error();
    const int size = SSL_write(tls_.get(), output_.data() + written, static_cast<int>(output_.size() - written));
    status = Check(size, "writing");
    if (size <= 0) break;
    written += size;
  }
  output_.erase(0, written);
  return status;
}

void TlsSocket::Close() {
  ERR_clear_error();
  if (SSL_is_init_finished(tls_.get())) SSL_shutdown(tls_.get());
  ERR_clear_error();
  boost::system::error_code ignored;
  tcp_.close(ignored);
}

}  // namespace slmmesh
