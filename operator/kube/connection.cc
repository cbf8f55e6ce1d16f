#include "operator/kube/connection.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

#include <array>
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>
#include <chrono>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/net.h"
#include "common/status.h"

namespace slmmesh::kube {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;
using boost::system::error_code;

constexpr absl::Duration kCancelledCheckPeriod = absl::Milliseconds(400);
constexpr uint32_t kMaxHeaderBytes = 64 << 10;
constexpr size_t kReadBytes = 16 << 10;  // a TLS record

// A server that is gone without a word is noticed within half a minute, on idle watches too.
constexpr int kKeepaliveIdleSeconds = 15;
constexpr int kKeepaliveIntervalSeconds = 5;
constexpr int kKeepaliveProbes = 3;
constexpr unsigned kUnacknowledgedMilliseconds = 30000;

// Takes its own reference: asio's context frees what it was given.
asio::ssl::context ShareContext(const std::shared_ptr<SSL_CTX>& context) {
  SSL_CTX_up_ref(context.get());
  return asio::ssl::context(context.get());
}

bool IsIpAddress(const std::string& text) {
  std::array<unsigned char, sizeof(in6_addr)> address;
  return inet_pton(AF_INET, text.c_str(), address.data()) == 1 ||
         inet_pton(AF_INET6, text.c_str(), address.data()) == 1;
}

// OpenSSL compares during the handshake; the certificate's subject does not count, only its alternative names.
bool ExpectName(SSL* ssl, const std::string& name) {
  X509_VERIFY_PARAM* check = SSL_get0_param(ssl);
  X509_VERIFY_PARAM_set_hostflags(check, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
  if (IsIpAddress(name)) return X509_VERIFY_PARAM_set1_ip_asc(check, name.c_str()) == 1;
  return X509_VERIFY_PARAM_set1_host(check, name.c_str(), name.size()) == 1 &&
         SSL_set_tlsext_host_name(ssl, name.c_str()) == 1;
}

void SetSocketOptions(tcp::socket& socket) {
  error_code ignored;  // all of these make it better, none is needed
  socket.set_option(tcp::no_delay(true), ignored);
  const int handle = socket.native_handle();
  const auto set = [handle](int level, int option, auto value) {
    (void)setsockopt(handle, level, option, &value, sizeof value);
  };
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
#ifdef TCP_USER_TIMEOUT
  set(IPPROTO_TCP, TCP_KEEPIDLE, kKeepaliveIdleSeconds);
  set(IPPROTO_TCP, TCP_KEEPINTVL, kKeepaliveIntervalSeconds);
  set(IPPROTO_TCP, TCP_KEEPCNT, kKeepaliveProbes);
  set(IPPROTO_TCP, TCP_USER_TIMEOUT, kUnacknowledgedMilliseconds);
#endif
}

class BeastConnection : public Connection {
 public:
  BeastConnection(const ServerUrl& server, const Credentials::Tls& tls)
      : server_(JoinHostPort(server.host, server.port)),
        generation_(tls.generation),
        io_(1),
        context_(ShareContext(tls.context)),
        stream_(io_, context_),
        buffer_(kMaxHeaderBytes + kReadBytes) {}

  absl::Status Connect(const ServerUrl& server, const std::string& tls_name, const Patience& patience) {
    error_code error;
    // Blocks without our deadline, as getaddrinfo does; in a pod the server is an address and nothing is looked up.
    const auto endpoints = tcp::resolver(io_).resolve(server.host, std::to_string(server.port), error);
    if (error) return Broken("cannot find its address", error);
    tcp::socket& socket = stream_.next_layer();
    RETURN_IF_ERROR(Await(patience, "cannot connect", [&](auto done) {
      asio::async_connect(socket, endpoints, [done](error_code result, const tcp::endpoint&) { done(result, 0); });
    }));
    SetSocketOptions(socket);
    if (!ExpectName(stream_.native_handle(), tls_name)) {
      return absl::InvalidArgumentError(absl::StrCat("'", tls_name, "' is no name that a certificate can have"));
    }
    return Handshake(patience);
  }

  absl::Status Send(HttpRequest request, const Patience& patience) override {
    answered_ = reusable_ = false;
    http::request<http::string_body> message(http::string_to_verb(request.method), request.target, 11);
    message.set(http::field::host, server_);
    message.set(http::field::accept, "application/json");
    message.set(http::field::user_agent, request.user_agent);
    if (!request.token.empty()) message.set(http::field::authorization, absl::StrCat("Bearer ", request.token));
    if (!request.content_type.empty()) message.set(http::field::content_type, request.content_type);
    message.body() = std::move(request.body);
    message.prepare_payload();
    return Await(patience, "sending failed", [&](auto done) { http::async_write(stream_, message, done); });
  }

  absl::StatusOr<HttpHead> ReadHead(const Patience& patience) override {
    parser_.emplace();
    parser_->header_limit(kMaxHeaderBytes);
    parser_->body_limit(boost::none);  // who reads the body bounds it
    const absl::Status read = Await(patience, "the connection broke before an answer",
                                    [&](auto done) { http::async_read_header(stream_, buffer_, *parser_, done); });
    answered_ = parser_->got_some() || buffer_.size() > 0;
    RETURN_IF_ERROR(read);
    NoteEnd();
    const auto& head = parser_->get();
    return HttpHead{static_cast<int>(head.result_int()), std::string(head[http::field::retry_after])};
  }

  absl::StatusOr<absl::string_view> ReadBody(const Patience& patience) override {
    while (!parser_->is_done()) {
      auto& body = parser_->get().body();
      body.data = piece_.data();
      body.size = piece_.size();
      body.more = true;
      RETURN_IF_ERROR(Await(patience, "the connection broke in the middle of an answer",
                            [&](auto done) { http::async_read_some(stream_, buffer_, *parser_, done); }));
      NoteEnd();
      if (const size_t size = piece_.size() - body.size; size > 0) return absl::string_view(piece_.data(), size);
    }
    return absl::string_view();
  }

  bool answered() const override { return answered_; }
  bool reusable() const override { return reusable_; }
  uint64_t generation() const override { return generation_; }

  bool Stale() const override {
    char byte;
    const int handle = const_cast<BeastConnection*>(this)->stream_.next_layer().native_handle();
    const ssize_t got = recv(handle, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return got >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK);  // 0: closed; a byte: a farewell
  }

 private:
  absl::Status Handshake(const Patience& patience) {
    const absl::Status status = Await(patience, "the TLS handshake failed", [&](auto done) {
      stream_.async_handshake(asio::ssl::stream_base::client, [done](error_code result) { done(result, 0); });
    });
    const long verdict = SSL_get_verify_result(stream_.native_handle());
    if (status.ok() || verdict == X509_V_OK) return status;
    return absl::UnavailableError(
        absl::StrCat("https://", server_, ": its certificate is refused: ", X509_verify_cert_error_string(verdict)));
  }

  // Starts an operation and runs it to its end on this thread; when it takes too long the socket is closed, which ends
  // it. need_buffer is how a full buffer is told.
  template <typename Start>
  absl::Status Await(const Patience& patience, const char* what, Start start) {
    std::optional<error_code> result;
    absl::Status given_up;
    io_.restart();
    start([&result](error_code error, size_t /*bytes*/) { result = error; });
    while (!result.has_value()) {
      const absl::Duration left = patience.deadline - Clock::Real().Now();
      if (given_up.ok() && patience.cancelled && patience.cancelled()) {
        given_up = absl::CancelledError("cancelled");
        Close();
      } else if (given_up.ok() && left <= absl::ZeroDuration()) {
        given_up = absl::DeadlineExceededError(absl::StrCat("https://", server_, ": no answer in time"));
        Close();
      }
      const absl::Duration slice = patience.cancelled ? std::min(left, kCancelledCheckPeriod) : left;
      io_.run_one_for(absl::ToChronoMicroseconds(std::clamp(slice, absl::Milliseconds(1), absl::Seconds(60))));
    }
    if (!given_up.ok()) return given_up;
    if (*result && *result != http::error::need_buffer) return Broken(what, *result);
    return absl::OkStatus();
  }

  absl::Status Broken(const char* what, const error_code& error) const {
    return absl::UnavailableError(absl::StrCat("https://", server_, ": ", what, ": ", error.message()));
  }

  void NoteEnd() { reusable_ = parser_->is_done() && parser_->keep_alive() && buffer_.size() == 0; }

  void Close() {
    error_code ignored;
    stream_.next_layer().close(ignored);
  }

  const std::string server_;
  const uint64_t generation_;
  asio::io_context io_;
  asio::ssl::context context_;
  beast::ssl_stream<tcp::socket> stream_;
  beast::flat_buffer buffer_;
  std::optional<http::response_parser<http::buffer_body>> parser_;
  std::array<char, kReadBytes> piece_;
  bool answered_ = false;
  bool reusable_ = false;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Connection>> Connection::Open(const ServerUrl& server, const std::string& tls_name,
                                                             const Credentials::Tls& tls, const Patience& patience) {
  auto connection = std::make_unique<BeastConnection>(server, tls);
  RETURN_IF_ERROR(connection->Connect(server, tls_name, patience));
  return connection;
}

}  // namespace slmmesh::kube
