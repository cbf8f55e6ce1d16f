#include "common/admin_server.h"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>
#include <thread>

#include "common/log.h"
#include "common/net.h"
#include "common/status.h"

namespace slmmesh {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;

constexpr int kMaxConnections = 64;
constexpr uint32_t kMaxHeaderBytes = 8 << 10;
constexpr std::chrono::seconds kMaxRequestTime(10);  // from accept to the last byte
constexpr std::chrono::milliseconds kAcceptRetryTime(100);

using Response = http::response<http::string_body>;
using TlsStream = beast::ssl_stream<beast::tcp_stream>;

Response MakeResponse(http::status status, const std::string& content_type, std::string body) {
  Response response(status, 11);
  response.set(http::field::content_type, content_type);
  response.set(http::field::cache_control, "no-store");
  response.keep_alive(false);
  response.body() = std::move(body);
  response.prepare_payload();
  return response;
}

Response MakeTextResponse(http::status status, std::string body) {
  return MakeResponse(status, "text/plain; charset=utf-8", std::move(body));
}

// Takes its own reference: asio's context frees what it was given.
asio::ssl::context ShareContext(const std::shared_ptr<SSL_CTX>& context) {
  SSL_CTX_up_ref(context.get());
  return asio::ssl::context(context.get());
}

// One request a connection, all connections on one thread.
class BeastAdminServer : public AdminServer {
 public:
  explicit BeastAdminServer(Options options) : options_(std::move(options)), acceptor_(io_) {}

  ~BeastAdminServer() override {
    io_.stop();
    if (thread_.joinable()) thread_.join();
  }

  absl::Status Listen() {
    if (absl::StatusOr<std::shared_ptr<SSL_CTX>> context =
            MakeServerContext(options_.tls, ClientCertificate::kOptional);
        !context.ok()) {
      return context.status();
    }
    ASSIGN_OR_RETURN(const HostPort address, SplitHostPort(options_.address));
    boost::system::error_code error;
    tcp::resolver resolver(io_);
    const auto found = resolver.resolve(address.host, std::to_string(address.port), tcp::resolver::passive, error);
    if (error || found.empty()) return ListenError(error);
    const tcp::endpoint endpoint = found.begin()->endpoint();
    acceptor_.open(endpoint.protocol(), error);
    if (!error) acceptor_.set_option(asio::socket_base::reuse_address(true), error);
    if (!error) acceptor_.bind(endpoint, error);
    if (!error) acceptor_.listen(kMaxConnections, error);
    if (error) return ListenError(error);
    port_ = acceptor_.local_endpoint().port();
    asio::co_spawn(io_, Accept(), asio::detached);
    thread_ = std::thread([this] { io_.run(); });
    return absl::OkStatus();
  }

  int port() const override { return port_; }

 private:
  absl::Status ListenError(const boost::system::error_code& error) const {
    return absl::UnavailableError(absl::StrCat("cannot listen on ", options_.address, ": ", error.message()));
  }

  asio::awaitable<void> Accept() {
    asio::steady_timer retry(io_);
    while (true) {
      boost::system::error_code error;
      tcp::socket socket = co_await acceptor_.async_accept(asio::redirect_error(asio::use_awaitable, error));
      if (error) {  // out of descriptors, most likely
        retry.expires_after(kAcceptRetryTime);
        co_await retry.async_wait(asio::redirect_error(asio::use_awaitable, error));
      } else if (connections_ < kMaxConnections) {
        asio::co_spawn(io_, Serve(std::move(socket)), asio::detached);
      }
    }
  }

  asio::awaitable<void> Serve(tcp::socket socket) {
    const ConnectionCount counted(connections_);
    absl::StatusOr<std::shared_ptr<SSL_CTX>> context = MakeServerContext(options_.tls, ClientCertificate::kOptional);
    if (!context.ok()) co_return;
    asio::ssl::context tls = ShareContext(*context);
    TlsStream stream(beast::tcp_stream(std::move(socket)), tls);
    beast::get_lowest_layer(stream).expires_after(kMaxRequestTime);
    boost::system::error_code error;
    co_await stream.async_handshake(asio::ssl::stream_base::server, asio::redirect_error(asio::use_awaitable, error));
    if (error) {
      LogDebug("admin.handshake_failed", {{"reason", error.message()}});
      co_return;
    }
    beast::flat_buffer buffer(kMaxHeaderBytes);
    http::request_parser<http::empty_body> parser;
    parser.header_limit(kMaxHeaderBytes);
    co_await http::async_read_header(stream, buffer, parser, asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return;
    const Response response = Answer(parser.get(), stream.native_handle());
    co_await http::async_write(stream, response, asio::redirect_error(asio::use_awaitable, error));
    if (!error) co_await stream.async_shutdown(asio::redirect_error(asio::use_awaitable, error));
  }

  Response Answer(const http::request<http::empty_body>& request, const SSL* connection) const {
    const std::string target(request.target());
    const std::string path = target.substr(0, target.find('?'));
    const bool is_get = request.method() == http::verb::get;
    if (is_get && path == "/healthz") return MakeTextResponse(http::status::ok, "ok\n");
    if (is_get && path == "/readyz") return AnswerReady();
    if (absl::Status peer = CheckReader(connection, path); !peer.ok()) {
      LogWarning("admin.peer_refused", {{"reason", peer}});
      return MakeTextResponse(http::status::forbidden, std::string(peer.message()) + "\n");
    }
    if (!is_get) return MakeTextResponse(http::status::method_not_allowed, "only GET is served here\n");
    if (path == "/metrics" && options_.metrics != nullptr) {
      return MakeResponse(http::status::ok, "text/plain; version=0.0.4; charset=utf-8", options_.metrics->RenderText());
    }
    if (const auto page = options_.pages.find(path); page != options_.pages.end()) {
      return MakeResponse(http::status::ok, page->second.content_type, page->second.body());
    }
    return MakeTextResponse(http::status::not_found, "no such page\n");
  }

  Response AnswerReady() const {
    const bool ready = !options_.ready || options_.ready();
    return ready ? MakeTextResponse(http::status::ok, "ready\n")
                 : MakeTextResponse(http::status::service_unavailable, "not ready\n");
  }

  absl::Status CheckReader(const SSL* connection, const std::string& path) const {
    absl::Status peer = CheckPeer(connection, options_.cluster, {Role::kMonitor, Role::kAdmin, Role::kOperator});
    const bool of_all_clusters = path == "/metrics" && CheckPeer(connection, kMonitoringCluster, {Role::kMonitor}).ok();
    return of_all_clusters ? absl::OkStatus() : peer;
  }

  struct ConnectionCount {
    explicit ConnectionCount(int& count) : count(count) { ++count; }
    ~ConnectionCount() { --count; }
    int& count;
  };

  // Above io_: its end destroys the waiting connections, which still touch these.
  const Options options_;
  int connections_ = 0;
  int port_ = 0;
  asio::io_context io_{1};
  tcp::acceptor acceptor_;
  std::thread thread_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<AdminServer>> AdminServer::Start(Options options) {
  auto server = std::make_unique<BeastAdminServer>(std::move(options));
  RETURN_IF_ERROR(server->Listen());
  return server;
}

}  // namespace slmmesh
