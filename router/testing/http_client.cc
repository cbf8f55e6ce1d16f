#include "router/testing/http_client.h"

#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/net.h"

namespace slmmesh {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::ip::tcp;
using boost::system::error_code;

struct TestHttpClient::State {
  State() : ssl_context(asio::ssl::context::tls_client), stream(context, ssl_context) {}

  template <typename Use>
  auto With(Use use) {
    return tls ? use(stream) : use(stream.next_layer());
  }

  asio::io_context context;
  asio::ssl::context ssl_context;
  asio::ssl::stream<tcp::socket> stream;
  bool tls = false;
  boost::beast::flat_buffer buffer;
  std::string text;  // of ReceiveUntil, not yet taken
};

TestHttpClient::TestHttpClient(const std::string& address, const std::string& ca_file) : state_(new State) {
  const HostPort parts = SplitHostPort(address).value();
  error_code ignored;
  state_->stream.next_layer().connect(tcp::endpoint(asio::ip::make_address(parts.host), parts.port), ignored);
  if (ca_file.empty()) return;
  state_->tls = true;
  state_->stream.next_layer();
  SSL_CTX_load_verify_locations(state_->ssl_context.native_handle(), ca_file.c_str(), nullptr);
  state_->stream.set_verify_mode(asio::ssl::verify_peer, ignored);
  state_->stream.handshake(asio::ssl::stream_base::client, ignored);
}

TestHttpClient::~TestHttpClient() { Close(); }

void TestHttpClient::Close() {
  error_code ignored;
  state_->stream.next_layer().close(ignored);
}

void TestHttpClient::Send(const std::string& bytes) {
  error_code ignored;
  state_->With([&](auto& stream) { asio::write(stream, asio::buffer(bytes), ignored); });
}

void TestHttpClient::SendRequest(const std::string& method, const std::string& path, const std::string& body,
                                 const std::vector<std::string>& headers) {
  std::string request = absl::StrCat(method, " ", path, " HTTP/1.1\r\nHost: test\r\n");
  if (!body.empty())
    absl::StrAppend(&request, "Content-Type: application/json\r\nContent-Length: ", body.size(), "\r\n");
  for (const std::string& header : headers) absl::StrAppend(&request, header, "\r\n");
  Send(request + "\r\n" + body);
}

HttpReply TestHttpClient::Receive() {
  HttpReply reply;
  http::response_parser<http::string_body> parser;
  parser.body_limit(64 << 20);
  error_code error;
  state_->With([&](auto& stream) { http::read(stream, state_->buffer, parser, error); });
  if (error) return reply;
  reply.status = static_cast<int>(parser.get().result_int());
  for (const auto& field : parser.get()) {
    reply.headers[absl::AsciiStrToLower(std::string(field.name_string()))] = std::string(field.value());
  }
  reply.body = parser.get().body();
  return reply;
}

std::string TestHttpClient::ReceiveSome() {
  char bytes[4096];
  error_code error;
  const size_t count = state_->With([&](auto& stream) { return stream.read_some(asio::buffer(bytes), error); });
  return std::string(bytes, count);
}

std::string TestHttpClient::ReceiveUntil(const std::string& end) {
  while (state_->text.find(end) == std::string::npos) {
    const std::string more = ReceiveSome();
    if (more.empty()) break;
    state_->text += more;
  }
  const size_t found = state_->text.find(end);
  const size_t length = found == std::string::npos ? state_->text.size() : found + end.size();
  std::string taken = state_->text.substr(0, length);
  state_->text.erase(0, length);
  return taken;
}

std::vector<std::string> EventsOf(const std::string& body) {
  std::vector<std::string> events;
  size_t at = 0;
  while ((at = body.find("data: ", at)) != std::string::npos) {
    const size_t end = body.find("\n\n", at);
    events.push_back(body.substr(at + 6, end - at - 6));
    at = end;
  }
  return events;
}

}  // namespace slmmesh
