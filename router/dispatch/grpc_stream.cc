#include "router/dispatch/grpc_stream.h"

#include <atomic>
#include <boost/asio/connect.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <optional>

#include "absl/strings/str_cat.h"
#include "common/net.h"
#include "common/status.h"
#include "router/dispatch/grpc_call.h"
#include "router/dispatch/loop.h"
#include "router/dispatch/tls_socket.h"

namespace slmmesh {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

constexpr int kPulsesBetweenPings = 2;

class Stream final : public GrpcStream, public std::enable_shared_from_this<Stream> {
 public:
  Stream(Loop* loop, Options options, Handler* handler)
      : loop_(loop),
        options_(std::move(options)),
        handler_(handler),
        resolver_(std::in_place, loop->context()),
        timer_(std::in_place, loop->context()) {}

  void Start() {
    loop_->Post([self = shared_from_this()] {
      self->Pulse();
      self->Resolve();
    });
  }

  void Send(std::string_view message) override {
    if (closed_) return;  // and perhaps abandoned: the loop may be gone
    if (loop_->IsCurrent()) {
      call_.Send(message);
      return FlushSoon();
    }
    loop_->Post([self = shared_from_this(), copy = std::string(message)] {
      self->call_.Send(copy);
      self->FlushSoon();
    });
  }

  void Close() override {
    if (closed_) return;
    loop_->Post([self = shared_from_this()] {
      self->call_.Cancel();
      self->Flush();
      self->End(absl::CancelledError("closed here"));
    });
  }

  void Abandon() override {
    closed_ = true;
    resolver_.reset();
    timer_.reset();
    socket_.reset();
  }

 private:
  void Resolve() {
    if (closed_) return;
    const absl::StatusOr<HostPort> address = SplitHostPort(options_.endpoint);
    if (!address.ok()) return End(address.status());
    resolver_->async_resolve(address->host, std::to_string(address->port),
                             [self = shared_from_this()](error_code error, const tcp::resolver::results_type& results) {
                               if (error) return self->End(self->Failure(error.message()));
                               self->Connect(results);
                             });
  }

  void Connect(const tcp::resolver::results_type& results) {
    if (closed_) return;
    const absl::StatusOr<std::shared_ptr<SSL_CTX>> context = MakeClientContext(options_.tls);
    if (!context.ok()) return End(context.status());
    socket_.emplace(loop_->context(), context->get());
    ExpectPeer(socket_->tls(), options_.cluster, options_.role);
    asio::async_connect(socket_->tcp(), results, [self = shared_from_this()](error_code error, const tcp::endpoint&) {
      if (self->closed_) return;
      if (error) return self->End(self->Failure(error.message()));
      self->BeginCall();
    });
  }

  void BeginCall() {
    if (const absl::Status status = socket_->Begin("h2"); !status.ok()) return End(status);
    call_.Begin(TlsHostName(options_.role, options_.cluster), options_.method);
    Flush();  // the first write shakes hands
    Read();
  }

  void Read() {
    if (closed_ || reading_) return;
    reading_ = true;
    socket_->tcp().async_wait(tcp::socket::wait_read, [self = shared_from_this()](error_code error) {
      self->reading_ = false;
      if (self->closed_) return;
      if (error) return self->End(self->Failure(error.message()));
      self->OnReadable();
    });
  }

  void OnReadable() {
    std::string_view bytes;
    do {
      const absl::Status status = socket_->Read(&bytes);
      if (!status.ok()) return End(Failure(status.message()));
      if (!bytes.empty()) is_alive_ = true;
      const bool goes_on = call_.Receive(bytes, [this](std::string_view message) {
        if (!closed_) handler_->OnMessage(message);
      });
      if (closed_) return;
      if (!goes_on) return End(call_.status());
    } while (!bytes.empty() && socket_->has_pending());  // a part of a record is pending, too
    Flush();
    Read();
  }

  void FlushSoon() {
    if (flush_posted_) return;
    flush_posted_ = true;
    asio::post(loop_->context(), [self = shared_from_this()] {
      self->flush_posted_ = false;
      self->Flush();
    });
  }

  void Flush() {
    if (closed_ || !socket_.has_value() || !call_.begun()) return;
    const absl::Status status = socket_->Write(call_.TakeOutput());
    if (!status.ok()) return End(Failure(status.message()));
    if (socket_->wants_write() && !writing_) AwaitWritable();
  }

  void AwaitWritable() {
    writing_ = true;
    socket_->tcp().async_wait(tcp::socket::wait_write, [self = shared_from_this()](error_code error) {
      self->writing_ = false;
      if (!error) self->Flush();
    });
  }

  void Pulse() {
    if (closed_) return;
    if (++pulses_ % kPulsesBetweenPings == 0) {
      is_alive_ = false;
      call_.Ping();
      Flush();
    } else if (pulses_ > 1 && !is_alive_) {
      return End(Failure("it does not answer"));
    }
    timer_->expires_after(options_.pulse);
    timer_->async_wait([self = shared_from_this()](error_code error) {
      if (!error) self->Pulse();
    });
  }

  absl::Status Failure(absl::string_view reason) const {
    return absl::UnavailableError(absl::StrCat(options_.endpoint, ": ", reason));
  }

  void End(const absl::Status& status) {
    if (closed_) return;
    const auto self = shared_from_this();
    if (socket_.has_value()) socket_->Close();
    Abandon();
    handler_->OnClosed(status);
  }

  Loop* const loop_;
  const Options options_;
  Handler* const handler_;
  std::optional<tcp::resolver> resolver_;  // these three: until the end
  std::optional<asio::steady_timer> timer_;
  std::optional<TlsSocket> socket_;
  GrpcCall call_;
  std::atomic<bool> closed_ = false;  // written on the loop
  bool reading_ = false, writing_ = false, flush_posted_ = false;
  bool is_alive_ = true;  // something came since the last ping
  uint64_t pulses_ = 0;
};

}  // namespace

std::shared_ptr<GrpcStream> GrpcStream::Open(Loop* loop, Options options, Handler* handler) {
  auto stream = std::make_shared<Stream>(loop, std::move(options), handler);
  stream->Start();
  return stream;
}

}  // namespace slmmesh
