#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/net.h"
#include "common/status.h"
#include "worker/collective/tcp_communicator.h"

namespace slmmesh {
namespace {

constexpr absl::Duration kRedialPause = absl::Milliseconds(50);

// Waits for `events` on `fd`, in slices, so that a cancelled join ends soon.
absl::Status AwaitSocket(const GroupJoin& join, int fd, short events, absl::Time deadline) {
  while (true) {
    if (join.IsCancelled()) return absl::CancelledError("joining the group was cancelled");
    if (absl::Now() >= deadline) return absl::DeadlineExceededError("the peer did not answer in time");
    pollfd polled = {fd, events, 0};
    if (poll(&polled, 1, 20) > 0) return absl::OkStatus();
  }
}

absl::StatusOr<int> OpenSocket(const GroupJoin& join, const std::string& address, absl::Time deadline) {
  ASSIGN_OR_RETURN(const HostPort host_port, SplitHostPort(address));
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host_port.host.c_str(), std::to_string(host_port.port).c_str(), &hints, &found);
  if (error != 0) return absl::UnavailableError(absl::StrCat(address, ": ", gai_strerror(error)));
  absl::Cleanup free_found = [found] { freeaddrinfo(found); };
  const int fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return absl::UnavailableError(absl::StrCat(address, ": ", std::strerror(errno)));
  absl::Cleanup close_fd = [fd] { close(fd); };
  if (connect(fd, found->ai_addr, found->ai_addrlen) != 0) {
    if (errno != EINPROGRESS) return absl::UnavailableError(absl::StrCat(address, ": ", std::strerror(errno)));
    RETURN_IF_ERROR(AwaitSocket(join, fd, POLLOUT, deadline));
    int failure = 0;
    socklen_t length = sizeof(failure);
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &length);
    if (failure != 0) return absl::UnavailableError(absl::StrCat(address, ": ", std::strerror(failure)));
  }
  std::move(close_fd).Cancel();
  return fd;
}

absl::Status SayHello(const GroupJoin& join, TlsStream& stream, absl::Time deadline) {
  ExchangeHello hello = {};
  std::memcpy(hello.magic, kExchangeMagic, sizeof(hello.magic));
  std::memcpy(hello.key, GroupKey(join).data(), sizeof(hello.key));
  hello.rank = static_cast<uint32_t>(join.rank);
  absl::Span<const char> left(reinterpret_cast<const char*>(&hello), sizeof(hello));
  while (!left.empty()) {
    ASSIGN_OR_RETURN(const size_t sent, stream.WriteSome(left));
    left.remove_prefix(sent);
    if (sent == 0) RETURN_IF_ERROR(AwaitSocket(join, stream.fd(), stream.events(), deadline));
  }
  char acknowledgement = 0;
  while (true) {
    ASSIGN_OR_RETURN(const size_t received, stream.ReadSome({&acknowledgement, 1}));
    if (received == 1) return absl::OkStatus();
    RETURN_IF_ERROR(AwaitSocket(join, stream.fd(), stream.events(), deadline));
  }
}

absl::StatusOr<std::unique_ptr<TlsStream>> DialOnce(const GroupJoin& join, const TcpOptions& options, int peer,
                                                    absl::Time deadline) {
  ASSIGN_OR_RETURN(const std::shared_ptr<SSL_CTX> context, MakeClientContext(options.tls));
  ASSIGN_OR_RETURN(const int fd, OpenSocket(join, join.members[peer].exchange_endpoint, deadline));
  ASSIGN_OR_RETURN(std::unique_ptr<TlsStream> stream, TlsStream::Create(fd, context, TlsStream::Side::kClient));
  while (true) {
    ASSIGN_OR_RETURN(const bool done, stream->Handshake(options.cluster));
    if (done) break;
    RETURN_IF_ERROR(AwaitSocket(join, stream->fd(), stream->events(), deadline));
  }
  RETURN_IF_ERROR(SayHello(join, *stream, deadline));
  return stream;
}

// The peer may still be starting: a refused or lost connection is tried again until the join's own deadline.
absl::StatusOr<std::unique_ptr<TlsStream>> Dial(const GroupJoin& join, const TcpOptions& options, int peer,
                                                absl::Time deadline) {
  while (true) {
    auto stream = DialOnce(join, options, peer, deadline);
    if (stream.ok() || !absl::IsUnavailable(stream.status()) || absl::Now() + kRedialPause >= deadline) return stream;
    std::this_thread::sleep_for(absl::ToChronoMilliseconds(kRedialPause));
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Communicator>> ConnectTcp(const GroupJoin& join, const TcpOptions& options) {
  const absl::Time deadline = absl::Now() + join.join_timeout;
  std::vector<std::unique_ptr<TlsStream>> peers(join.members.size());
  for (int peer = 0; peer < join.size(); ++peer) {
    if (peer == join.rank) continue;
    auto stream = peer < join.rank ? Dial(join, options, peer, deadline) : options.listener->Take(join, peer, deadline);
    if (!stream.ok()) return Annotate(stream.status(), absl::StrCat("exchange with rank ", peer));
    peers[peer] = *std::move(stream);
  }
  return CreateTcpCommunicator(join.rank, std::move(peers), join.operation_timeout);
}

}  // namespace slmmesh
