#include "router/http/connection.h"

#include <openssl/ssl.h>

#include <boost/asio/post.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <optional>

#include "absl/time/clock.h"
#include "router/dispatch/loop.h"
#include "router/http/response_text.h"

namespace slmmesh {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;
using Socket = asio::ip::tcp::socket;
using TlsStream = asio::ssl::stream<Socket>;
using TimePoint = std::chrono::steady_clock::time_point;

constexpr size_t kReadBytes = 16 << 10;
// Bytes of further requests kept while one is answered; beyond, reading pauses until it is.
constexpr size_t kMaxPipelinedBytes = 64 << 10;
constexpr TimePoint kNever = TimePoint::max();
constexpr std::chrono::seconds kLingerTimeout(2);

TimePoint After(absl::Duration duration) {
  return std::chrono::steady_clock::now() + absl::ToChronoMilliseconds(duration);
}

Socket& SocketOf(Socket& socket) { return socket; }
Socket& SocketOf(TlsStream& stream) { return stream.next_layer(); }

std::string Header(const http::request<http::string_body>& message, boost::beast::string_view name) {
  const auto it = message.find(name);
  return it == message.end() ? std::string() : std::string(it->value());
}

template <typename Stream>
class ConnectionOn final : public Connection, public std::enable_shared_from_this<ConnectionOn<Stream>> {
 public:
  ConnectionOn(Stream stream, std::shared_ptr<ConnectionShared> shared)
      : stream_(std::move(stream)), shared_(std::move(shared)) {
    shared_->connections.insert(this);
    read_deadline_ = After(shared_->limits.read_timeout);
  }
  ~ConnectionOn() override {
    if (exchange_ != nullptr) exchange_->Detach();  // the loop ends with its requests
    shared_->connections.erase(this);
    shared_->open_connections->fetch_sub(1);
  }

  void Start() {
    if constexpr (std::is_same_v<Stream, TlsStream>) {
      stream_.async_handshake(TlsStream::server, [self = this->shared_from_this()](error_code error) {
        error ? self->Close() : self->Read();
      });
    } else {
      Read();
    }
  }

  void Sweep(TimePoint now) override {
    if (now >= write_deadline_) return Close();
    if (now < read_deadline_) return;
    if (parser_.has_value() && !closing_) return Refuse(408, "the request took too long to arrive");
    Close();
  }

  void Drain() override {
    if (exchange_ == nullptr && !parser_.has_value() && !closing_) Close();
  }

 private:
  // Tells the handler's side from the connection's: either may end first.
  class Exchange final : public HttpExchange {
   public:
    explicit Exchange(ConnectionOn* connection, Loop* loop) : connection_(connection), loop_(loop) {}
    Loop* loop() const override { return loop_; }
    bool gone() const override { return connection_ == nullptr; }
    void OnGone(std::function<void()> callback) override { on_gone_ = std::move(callback); }
    void Respond(HttpResponse response) override {
      if (connection_ != nullptr) connection_->Respond(std::move(response));
    }
    void StartStream(HttpResponse head) override {
      if (connection_ != nullptr) connection_->StartStream(std::move(head));
    }
    void Write(std::string_view piece) override {
      if (connection_ != nullptr) connection_->WritePiece(piece);
    }
    void End() override {
      if (connection_ != nullptr) connection_->EndStream();
    }

    void Detach() {
      connection_ = nullptr;
      on_gone_ = nullptr;
    }
    void TellGone() {
      connection_ = nullptr;
      if (const auto callback = std::exchange(on_gone_, nullptr)) callback();
    }

   private:
    ConnectionOn* connection_;
    Loop* const loop_;
    std::function<void()> on_gone_;
  };

  void Read() {
    if (reading_ || closed_) return;
    if (exchange_ != nullptr && buffer_.size() >= kMaxPipelinedBytes) return;
    reading_ = true;
    stream_.async_read_some(
        buffer_.prepare(kReadBytes),
        [self = this->shared_from_this()](error_code error, size_t bytes) { self->OnRead(error, bytes); });
  }

  void OnRead(error_code error, size_t bytes) {
    reading_ = false;
    if (closed_) return;
    if (error) return Close();
    buffer_.commit(bytes);
    if (closing_) {
      buffer_.consume(buffer_.size());  // what a refused client still sends
    } else {
      Parse();
    }
    Read();
  }

  // Parses and hands out requests until one is being answered or bytes run out.
  void Parse() {
    if (parsing_) return;
    parsing_ = true;
    while (!closed_ && !closing_ && exchange_ == nullptr && buffer_.size() > 0) {
      if (!ParseSome()) break;
    }
    parsing_ = false;
  }

  // False: more bytes are needed, or the connection ends.
  bool ParseSome() {
    if (!parser_.has_value()) {
      parser_.emplace();
      parser_->eager(true);
      parser_->header_limit(static_cast<uint32_t>(shared_->limits.max_header_bytes));
      parser_->body_limit(shared_->limits.max_body_bytes);
      told_to_continue_ = false;
      read_deadline_ = After(shared_->limits.read_timeout);
    }
    error_code error;
    const size_t used = parser_->put(buffer_.data(), error);
    buffer_.consume(used);
    if (error == http::error::need_more) error = {};
    if (error) {
      RefuseParse(error);
      return false;
    }
    if (parser_->is_done()) {
      Dispatch();
      return true;
    }
    if (parser_->is_header_done()) TellToContinue();
    return used > 0;
  }

  void RefuseParse(error_code error) {
    if (error == http::error::header_limit) {
      Refuse(431, "the headers are longer than " + std::to_string(shared_->limits.max_header_bytes) + " bytes");
    } else if (error == http::error::body_limit) {
      Refuse(413, "the body is longer than " + std::to_string(shared_->limits.max_body_bytes) + " bytes");
    } else {
      Refuse(400, "not a valid HTTP/1.1 request: " + error.message());
    }
  }

  void TellToContinue() {
    if (told_to_continue_) return;
    told_to_continue_ = true;
    if (!boost::beast::iequals(Header(parser_->get(), "Expect"), "100-continue")) return;
    out_.append("HTTP/1.1 100 Continue\r\n\r\n");
    Flush();
  }

  void Dispatch() {
    http::request<http::string_body> message = parser_->release();
    parser_.reset();
    read_deadline_ = kNever;
    keep_alive_ = message.keep_alive() && !shared_->draining;
    chunked_ = message.version() >= 11;
    is_head_ = message.method() == http::verb::head;
    HttpRequest request;
    request.arrival = absl::Now();
    request.method = std::string(message.method_string());
    request.path = std::string(message.target().substr(0, message.target().find('?')));
    request.authorization = Header(message, "Authorization");
    request.content_type = Header(message, "Content-Type");
    request.request_id = Header(message, "X-Request-Id");
    request.timeout_ms = Header(message, "X-Request-Timeout-Ms");
    request.body = std::move(message.body());
    exchange_ = std::make_shared<Exchange>(this, shared_->loop);
    shared_->handler->Handle(std::move(request), exchange_);
  }

  // An answer to what is no request; the connection ends with it.
  void Refuse(int status, const std::string& message) {
    HttpResponse response = shared_->handler->ProtocolError(status, message);
    parser_.reset();
    AppendHttpHead(&out_, response, HttpBodyLength::kKnown, /*keep_alive=*/false);
    out_.append(response.body);
    CloseAfterWrite();
    lingers_ = true;
    Flush();
  }

  void Respond(HttpResponse response) {
    AppendHttpHead(&out_, response, HttpBodyLength::kKnown, keep_alive_);
    if (!is_head_) out_.append(response.body);
    EndExchange();
    Flush();
  }

  void StartStream(HttpResponse head) {
    keep_alive_ = keep_alive_ && chunked_;
    AppendHttpHead(&out_, head, chunked_ ? HttpBodyLength::kChunked : HttpBodyLength::kUntilClose, keep_alive_);
    FlushSoon();
  }

  void WritePiece(std::string_view piece) {
    if (too_slow_) return;
    if (piece.empty()) return;  // an empty chunk would end the body
    if (chunked_ && !chunk_begin_.has_value()) chunk_begin_ = BeginHttpChunk(&out_);
    out_.append(piece);
    too_slow_ = out_.size() + writing_.size() > shared_->limits.max_output_bytes;
    if (!too_slow_) return FlushSoon();
    // Not at once: the writer is in the middle of something.
    asio::post(stream_.get_executor(), [self = this->shared_from_this()] { self->Close(); });
  }

  void EndStream() {
    SealChunk();
    if (chunked_) out_.append(kLastHttpChunk);
    EndExchange();
    Flush();
  }

  // Ready for the next request, or for the end.
  void EndExchange() {
    exchange_->Detach();
    exchange_ = nullptr;
    if (!keep_alive_ || shared_->draining) return CloseAfterWrite();
    read_deadline_ = After(shared_->limits.idle_timeout);
    if (buffer_.size() == 0 || parsing_) return;
    asio::post(stream_.get_executor(), [self = this->shared_from_this()] {  // a request that was sent ahead
      self->Parse();
      self->Read();
    });
  }

  void SealChunk() {
    if (chunk_begin_.has_value()) EndHttpChunk(&out_, *chunk_begin_);
    chunk_begin_.reset();
  }

  void FlushSoon() {
    if (flush_posted_) return;
    flush_posted_ = true;
    asio::post(stream_.get_executor(), [self = this->shared_from_this()] {
      self->flush_posted_ = false;
      self->Flush();
    });
  }

  void Flush() {
    if (closed_ || !writing_.empty()) return;
    SealChunk();
    if (out_.empty()) {
      if (closing_) lingers_ ? Linger() : Close();
      return;
    }
    writing_.swap(out_);
    write_deadline_ = After(shared_->limits.write_timeout);
    asio::async_write(stream_, asio::buffer(writing_),
                      [self = this->shared_from_this()](error_code error, size_t) { self->OnWritten(error); });
  }

  void OnWritten(error_code error) {
    write_deadline_ = kNever;
    writing_.clear();
    if (closed_) return;
    if (error) return Close();
    Flush();
  }

  void CloseAfterWrite() {
    closing_ = true;
    read_deadline_ = kNever;
  }

  // The client of a refused request may still send: closing now could throw our answer away (a reset).
  void Linger() {
    if (read_deadline_ != kNever) return;
    read_deadline_ = std::chrono::steady_clock::now() + kLingerTimeout;
    error_code ignored;
    SocketOf(stream_).shutdown(Socket::shutdown_send, ignored);
    Read();
  }

  void Close() {
    if (closed_) return;
    closed_ = true;
    const auto self = this->shared_from_this();
    read_deadline_ = write_deadline_ = kNever;
    error_code ignored;
    SocketOf(stream_).close(ignored);
    if (const auto exchange = std::exchange(exchange_, nullptr)) exchange->TellGone();
  }

  Stream stream_;
  const std::shared_ptr<ConnectionShared> shared_;
  boost::beast::flat_buffer buffer_;
  std::optional<http::request_parser<http::string_body>> parser_;
  std::shared_ptr<Exchange> exchange_;  // the request that is being answered
  std::string out_;                     // ready for the socket
  std::optional<size_t> chunk_begin_;   // in out_: of the chunk that pieces of a stream are added to
  std::string writing_;                 // with the socket now
  TimePoint read_deadline_ = kNever, write_deadline_ = kNever;
  bool reading_ = false, parsing_ = false, flush_posted_ = false, told_to_continue_ = false;
  bool keep_alive_ = true, chunked_ = true, is_head_ = false;
  bool too_slow_ = false;  // the client left too much of a stream unread
  bool closing_ = false;   // nothing more is read; closed when all is written
  bool lingers_ = false;   // after that, waits for the client's end
  bool closed_ = false;
};

}  // namespace

void ServeConnection(Socket socket, SSL_CTX* tls, std::shared_ptr<ConnectionShared> shared) {
  error_code ignored;
  socket.set_option(asio::ip::tcp::no_delay(true), ignored);
  if (tls == nullptr) {
    std::make_shared<ConnectionOn<Socket>>(std::move(socket), std::move(shared))->Start();
  } else {
    TlsStream stream(std::move(socket), SSL_new(tls));
    std::make_shared<ConnectionOn<TlsStream>>(std::move(stream), std::move(shared))->Start();
  }
}

}  // namespace slmmesh
