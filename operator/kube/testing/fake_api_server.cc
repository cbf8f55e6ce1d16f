#include "operator/kube/testing/fake_api_server.h"

#include <sys/socket.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <list>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"
#include "common/temporary_folder.h"
#include "common/tls.h"
#include "nlohmann/json.hpp"

namespace slmmesh::kube {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;
using boost::system::error_code;
using Stream = asio::ssl::stream<tcp::socket>;

int HexDigit(char c) { return c <= '9' ? c - '0' : (c | 32) - 'a' + 10; }

std::string PercentDecoded(const std::string& text) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size()) {
      decoded += static_cast<char>(HexDigit(text[i + 1]) * 16 + HexDigit(text[i + 2]));
      i += 2;
    } else {
      decoded += text[i];
    }
  }
  return decoded;
}

class BeastExchange : public FakeExchange {
 public:
  BeastExchange(Stream& stream, const http::request<http::string_body>& request, const std::atomic<bool>& ending)
      : stream_(stream), ending_(ending) {
    const auto text = [](const auto& view) { return std::string(view.data(), view.size()); };
    const std::pair<std::string, std::string> target = absl::StrSplit(text(request.target()), absl::MaxSplits('?', 1));
    method = text(request.method_string());
    path = PercentDecoded(target.first);
    for (const auto pair : absl::StrSplit(target.second, '&', absl::SkipEmpty())) {
      const std::pair<std::string, std::string> value = absl::StrSplit(pair, absl::MaxSplits('=', 1));
      query[value.first] = PercentDecoded(value.second);
    }
    content_type = text(request[http::field::content_type]);
    authorization = text(request[http::field::authorization]);
    user_agent = text(request[http::field::user_agent]);
    body = request.body();
  }

  void Reply(int status, const std::string& reply, const Headers& headers) override {
    http::response<http::string_body> response(static_cast<http::status>(status), 11);
    response.set(http::field::content_type, "application/json");
    for (const auto& [name, value] : headers) response.set(name, value);
    response.body() = reply;
    response.prepare_payload();
    error_code error;
    http::write(stream_, response, error);
    if (error || !response.keep_alive()) dropped_ = true;
  }

  void BeginStream() override {
    WriteRaw("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n");
  }

  bool Chunk(const std::string& bytes) override {
    if (!bytes.empty()) WriteRaw(absl::StrCat(absl::Hex(bytes.size()), "\r\n", bytes, "\r\n"));
    return !dropped_ && !ending_;
  }

  void EndStream() override { WriteRaw("0\r\n\r\n"); }

  void WriteRaw(const std::string& bytes) override {
    error_code error;
    asio::write(stream_, asio::buffer(bytes), error);
    if (error) dropped_ = true;
  }

  void Drop() override { dropped_ = true; }

  void WaitForEnd() override {
    char byte;
    error_code error;
    stream_.read_some(asio::buffer(&byte, 1), error);
    dropped_ = true;
  }

  bool ending() const override { return ending_; }
  bool dropped() const { return dropped_; }

 private:
  Stream& stream_;
  const std::atomic<bool>& ending_;
  bool dropped_ = false;
};

class BeastApiServer : public FakeApiServer {
 public:
  explicit BeastApiServer(Handler handler) : handler_(std::move(handler)), acceptor_(io_) {
    const auto ca = CertificateAuthority::Create("kube-test");
    if (!ca.ok() || !(*ca)->IssueInto(folder_ / "server", Role::kHead, "apiserver", 3600).ok() ||
        !(*ca)->IssueInto(folder_ / "client", Role::kOperator, "operator", 3600).ok()) {
      abort();
    }
    acceptor_.open(tcp::v4());
    acceptor_.bind({asio::ip::make_address("127.0.0.1"), 0});
    acceptor_.listen();
    acceptor_thread_ = std::thread([this] { Accept(); });
  }

  ~BeastApiServer() override {
    ending_ = true;
    ::shutdown(acceptor_.native_handle(), SHUT_RDWR);
    acceptor_thread_.join();
    CloseIdleConnections();
    for (Peer& peer : peers_) peer.thread.join();
  }

  Config config() const override {
    Config config;
    config.server = absl::StrCat("https://127.0.0.1:", port());
    config.ca_file = folder_ / "client/ca.crt";
    config.cert_file = folder_ / "client/tls.crt";
    config.key_file = folder_ / "client/tls.key";
    return config;
  }
  int port() const override { return acceptor_.local_endpoint().port(); }
  int connections() const override { return connections_; }
  int requests() const override { return requests_; }

  void CloseIdleConnections() override {
    const absl::MutexLock lock(&mutex_);
    for (Peer& peer : peers_) {
      if (peer.handle >= 0) ::shutdown(peer.handle, SHUT_RDWR);
    }
  }

 private:
  struct Peer {
    int handle = -1;  // while it is open
    std::thread thread;
  };

  void Accept() {
    while (!ending_) {
      error_code error;
      tcp::socket socket(io_);
      acceptor_.accept(socket, error);
      if (error) return;
      ++connections_;
      socket.set_option(tcp::no_delay(true));
      const absl::MutexLock lock(&mutex_);
      Peer& peer = peers_.emplace_back();
      peer.handle = socket.native_handle();
      peer.thread = std::thread(
          [this, &peer, owned = std::make_shared<tcp::socket>(std::move(socket))] { Serve(std::move(*owned), peer); });
    }
  }

  void Serve(tcp::socket socket, Peer& peer) {
    const auto tls = MakeServerContext(TlsFilesIn(folder_ / "server"));
    if (!tls.ok()) abort();
    SSL_CTX_up_ref(tls->get());
    asio::ssl::context context(tls->get());
    Stream stream(std::move(socket), context);
    error_code error;
    stream.handshake(asio::ssl::stream_base::server, error);
    beast::flat_buffer buffer;
    while (!error && !ending_) {
      http::request_parser<http::string_body> parser;
      parser.body_limit(64 << 20);
      http::read(stream, buffer, parser, error);
      if (error) break;
      ++requests_;
      BeastExchange exchange(stream, parser.get(), ending_);
      handler_(exchange);
      if (exchange.dropped()) break;
    }
    const absl::MutexLock lock(&mutex_);
    peer.handle = -1;
  }

  const Handler handler_;
  TemporaryFolder folder_;
  asio::io_context io_;
  tcp::acceptor acceptor_;
  std::atomic<bool> ending_{false};
  std::atomic<int> connections_{0};
  std::atomic<int> requests_{0};
  absl::Mutex mutex_;
  std::list<Peer> peers_ ABSL_GUARDED_BY(mutex_);
  std::thread acceptor_thread_;
};

}  // namespace

std::unique_ptr<FakeApiServer> FakeApiServer::Start(Handler handler) {
  return std::make_unique<BeastApiServer>(std::move(handler));
}

std::string StatusBody(int code, const std::string& reason, const std::string& message) {
  return nlohmann::json{{"apiVersion", "v1"}, {"kind", "Status"}, {"status", "Failure"},
                        {"code", code},       {"reason", reason}, {"message", message}}
      .dump();
}

}  // namespace slmmesh::kube
