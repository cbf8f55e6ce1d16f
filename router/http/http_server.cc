#include "router/http/http_server.h"

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>

#include "common/log.h"
#include "common/net.h"
#include "common/status.h"
#include "common/tls.h"
#include "router/dispatch/loop.h"
#include "router/http/connection.h"
#include "router/http/response_text.h"

namespace slmmesh {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

constexpr std::chrono::milliseconds kAcceptRetry(100);  // after an error such as too many open files

class Server final : public HttpServer {
 public:
  explicit Server(Options options)
      : options_(std::move(options)),
        acceptor_(options_.loops[0]->context()),
        retry_timer_(options_.loops[0]->context()) {
    for (Loop* loop : options_.loops) {
      shared_.push_back(std::make_shared<ConnectionShared>());
      const std::shared_ptr<ConnectionShared>& shared = shared_.back();
      shared->loop = loop;
      shared->handler = options_.handler;
      shared->limits = options_.limits;
      shared->open_connections = open_connections_;
      loop->EveryTick([shared] { Sweep(shared.get()); });
    }
  }

  absl::Status Bind() {
    ASSIGN_OR_RETURN(const tcp::endpoint endpoint, Resolve());
    is_loopback_ = endpoint.address().is_loopback();
    uses_tls_ = !options_.tls_cert_file.empty();
    if (uses_tls_) {
      RETURN_IF_ERROR(MakeServerContext(ClientTls()).status());
    } else if (!is_loopback_ && !options_.allow_plaintext) {
      return absl::InvalidArgumentError(
          absl::StrCat("--listen ", options_.address,
                       ": plaintext is allowed on loopback only; give --tls-cert-file and "
                       "--tls-key-file, or --allow-plaintext"));
    }
    error_code error;
    acceptor_.open(endpoint.protocol(), error);
    if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor_.bind(endpoint, error);
    if (!error) acceptor_.listen(1024, error);
    if (error) return absl::UnavailableError(absl::StrCat("--listen ", options_.address, ": ", error.message()));
    const tcp::endpoint local = acceptor_.local_endpoint(error);
    address_ = JoinHostPort(local.address().to_string(), local.port());
    Accept();
    return absl::OkStatus();
  }

  std::string address() const override { return address_; }
  bool is_loopback() const override { return is_loopback_; }
  uint32_t open_connections() const override { return *open_connections_; }

  void Drain() override {
    options_.loops[0]->Post([this] {
      error_code ignored;
      acceptor_.close(ignored);
    });
    for (const std::shared_ptr<ConnectionShared>& shared : shared_) {
      shared->loop->Post([shared] {
        shared->draining = true;
        const std::vector<Connection*> connections(shared->connections.begin(), shared->connections.end());
        for (Connection* connection : connections) connection->Drain();
      });
    }
  }

 private:
  TlsFiles ClientTls() const { return {options_.tls_cert_file, options_.tls_key_file, /*ca=*/""}; }

  absl::StatusOr<tcp::endpoint> Resolve() {
    ASSIGN_OR_RETURN(const HostPort address, SplitHostPort(options_.address));
    error_code error;
    const asio::ip::address ip =
        asio::ip::make_address(address.host == "localhost" ? "127.0.0.1" : address.host, error);
    if (!error) return tcp::endpoint(ip, address.port);
    tcp::resolver resolver(acceptor_.get_executor());
    const auto results = resolver.resolve(address.host, std::to_string(address.port), tcp::resolver::passive, error);
    if (error || results.empty()) {
      return absl::InvalidArgumentError(absl::StrCat("--listen ", options_.address, ": ", error.message()));
    }
    return results.begin()->endpoint();
  }

  static void Sweep(ConnectionShared* shared) {
    const auto now = std::chrono::steady_clock::now();
    const std::vector<Connection*> connections(shared->connections.begin(), shared->connections.end());
    for (Connection* connection : connections) {
      if (shared->connections.contains(connection)) connection->Sweep(now);
    }
  }

  void Accept() {
    const std::shared_ptr<ConnectionShared> shared = shared_[next_loop_++ % shared_.size()];
    acceptor_.async_accept(shared->loop->context(), [this, shared](error_code error, tcp::socket socket) {
      if (error == asio::error::operation_aborted || !acceptor_.is_open()) return;
      if (error) return AcceptLater(error);
      Serve(std::move(socket), shared);
      Accept();
    });
  }

  void AcceptLater(error_code error) {
    LogWarning("router.accept_failed", {{"reason", error.message()}});
    retry_timer_.expires_after(kAcceptRetry);
    retry_timer_.async_wait([this](error_code aborted) {
      if (!aborted) Accept();
    });
  }

  void Serve(tcp::socket socket, const std::shared_ptr<ConnectionShared>& shared) {
    if (open_connections_->fetch_add(1) >= options_.limits.max_connections) {
      open_connections_->fetch_sub(1);
      options_.metrics->connections_refused.Increment();
      return RefuseConnection(std::move(socket));
    }
    std::shared_ptr<SSL_CTX> tls;
    if (uses_tls_) {
      absl::StatusOr<std::shared_ptr<SSL_CTX>> context = MakeServerContext(ClientTls());
      if (!context.ok()) {
        open_connections_->fetch_sub(1);
        LogError("router.tls_failed", {{"reason", context.status()}});
        return;
      }
      tls = *std::move(context);
    }
    auto owned = std::make_shared<tcp::socket>(std::move(socket));
    shared->loop->Post([owned, tls, shared] { ServeConnection(std::move(*owned), tls.get(), shared); });
  }

  void RefuseConnection(tcp::socket socket) {
    if (uses_tls_) return;
    HttpResponse response = options_.handler->ProtocolError(503, "too many connections; try again later");
    std::string text;
    AppendHttpHead(&text, response, HttpBodyLength::kKnown, /*keep_alive=*/false);
    text.append(response.body);
    error_code ignored;
    socket.non_blocking(true, ignored);
    socket.write_some(asio::buffer(text), ignored);  // fits into the empty send buffer
    socket.shutdown(tcp::socket::shutdown_send, ignored);
  }

  const Options options_;
  tcp::acceptor acceptor_;
  asio::steady_timer retry_timer_;
  std::vector<std::shared_ptr<ConnectionShared>> shared_;  // one a loop
  const std::shared_ptr<std::atomic<uint32_t>> open_connections_ = std::make_shared<std::atomic<uint32_t>>(0);
  uint64_t next_loop_ = 0;
  std::string address_;
  bool is_loopback_ = false;
  bool uses_tls_ = false;
};

}  // namespace

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Listen(Options options) {
  if (options.tls_cert_file.empty() != options.tls_key_file.empty()) {
    return absl::InvalidArgumentError("--tls-cert-file and --tls-key-file: give both or neither");
  }
  auto server = std::make_unique<Server>(std::move(options));
  RETURN_IF_ERROR(server->Bind());
  return std::unique_ptr<HttpServer>(std::move(server));
}

}  // namespace slmmesh
