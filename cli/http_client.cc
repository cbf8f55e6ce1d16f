#include "cli/http_client.h"

#include <sys/socket.h>

#include <array>
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/status.h"

namespace slmmesh {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using asio::ip::tcp;

struct Target {
  bool tls = false;
  std::string host;
  std::string port;
};

absl::StatusOr<Target> ParseUrl(const std::string& url) {
  Target target;
  absl::string_view rest = url;
  if (absl::ConsumePrefix(&rest, "https://")) {
    target.tls = true;
  } else if (!absl::ConsumePrefix(&rest, "http://")) {
    return absl::InvalidArgumentError(absl::StrCat("url: \"", url, "\" has no scheme; write http://host:port"));
  }
  rest = rest.substr(0, rest.find('/'));
  const size_t colon = rest.rfind(':');
  target.host = std::string(rest.substr(0, colon));
  target.port = colon == absl::string_view::npos ? (target.tls ? "443" : "80") : std::string(rest.substr(colon + 1));
  return target;
}

absl::Status Broken(const std::string& what, const boost::system::error_code& error) {
  return absl::UnavailableError(absl::StrCat(what, ": ", error.message()));
}

void SetTimeout(tcp::socket& socket, absl::Duration timeout) {
  const timeval limit = absl::ToTimeval(timeout);
  setsockopt(socket.native_handle(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  setsockopt(socket.native_handle(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

template <typename Stream>
class Client : public HttpClient {
 public:
  Client(std::unique_ptr<asio::io_context> io, std::unique_ptr<asio::ssl::context> tls, std::unique_ptr<Stream> stream,
         const HttpClientOptions& options, std::string host)
      : io_(std::move(io)),
        tls_(std::move(tls)),
        stream_(std::move(stream)),
        options_(options),
        host_(std::move(host)) {}

  absl::StatusOr<int> Request(const std::string& method, const std::string& path, const std::string& body,
                              const OnBody& on_body) override {
    http::request<http::string_body> request{http::string_to_verb(method), path, 11};
    request.set(http::field::host, host_);
    request.set(http::field::content_type, "application/json");
    if (!options_.api_key.empty()) request.set(http::field::authorization, absl::StrCat("Bearer ", options_.api_key));
    request.body() = body;
    request.prepare_payload();
    boost::system::error_code error;
    http::write(*stream_, request, error);
    if (error) return Broken("cannot send", error);
    return ReadResponse(on_body);
  }

 private:
  absl::StatusOr<int> ReadResponse(const OnBody& on_body) {
    http::response_parser<http::buffer_body> parser;
    parser.body_limit(boost::none);
    boost::system::error_code error;
    http::read_header(*stream_, buffer_, parser, error);
    if (error) return Broken("cannot read", error);
    std::array<char, 16384> piece;
    while (!parser.is_done()) {
      parser.get().body().data = piece.data();
      parser.get().body().size = piece.size();
      http::read_some(*stream_, buffer_, parser, error);
      if (error && error != http::error::need_buffer) return Broken("the answer broke off", error);
      on_body({piece.data(), piece.size() - parser.get().body().size});
    }
    return parser.get().result_int();
  }

  std::unique_ptr<asio::io_context> io_;  // outlives the stream
  std::unique_ptr<asio::ssl::context> tls_;
  std::unique_ptr<Stream> stream_;
  const HttpClientOptions options_;
  const std::string host_;
  beast::flat_buffer buffer_;
};

absl::StatusOr<std::unique_ptr<HttpClient>> StartTls(std::unique_ptr<asio::io_context> io, tcp::socket socket,
                                                     const HttpClientOptions& options, const Target& target) {
  boost::system::error_code error;
  auto tls = std::make_unique<asio::ssl::context>(asio::ssl::context::tls_client);
  tls->set_verify_mode(asio::ssl::verify_peer);
  if (options.ca_file.empty()) {
    tls->set_default_verify_paths(error);
  } else {
    tls->load_verify_file(options.ca_file, error);
  }
  if (error) return Broken(absl::StrCat("cannot load ", options.ca_file), error);
  using Stream = asio::ssl::stream<tcp::socket>;
  auto stream = std::make_unique<Stream>(std::move(socket), *tls);
  stream->set_verify_callback(asio::ssl::host_name_verification(target.host));
  stream->handshake(asio::ssl::stream_base::client, error);
  if (error) return Broken(absl::StrCat("no TLS with ", options.url), error);
  return std::unique_ptr<HttpClient>(
      new Client<Stream>(std::move(io), std::move(tls), std::move(stream), options, target.host));
}

}  // namespace

absl::StatusOr<std::unique_ptr<HttpClient>> HttpClient::Connect(const HttpClientOptions& options) {
  ASSIGN_OR_RETURN(const Target target, ParseUrl(options.url));
  auto io = std::make_unique<asio::io_context>();
  boost::system::error_code error;
  const auto addresses = tcp::resolver(*io).resolve(target.host, target.port, error);
  if (error) return Broken(absl::StrCat("cannot resolve ", target.host), error);
  tcp::socket socket(*io);
  asio::connect(socket, addresses, error);
  if (error) return Broken(absl::StrCat("cannot reach ", options.url), error);
  socket.set_option(tcp::no_delay(true), error);
  SetTimeout(socket, options.timeout);
  if (target.tls) return StartTls(std::move(io), std::move(socket), options, target);
  return std::unique_ptr<HttpClient>(new Client<tcp::socket>(
      std::move(io), nullptr, std::make_unique<tcp::socket>(std::move(socket)), options, target.host));
}

}  // namespace slmmesh
