#include "worker/collective/exchange_listener.h"

#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <list>
#include <map>
#include <thread>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "common/log.h"
#include "common/net.h"
#include "common/status.h"
#include "worker/collective/halving_sum.h"

namespace slmmesh {
namespace {

constexpr size_t kMaxArriving = 64;  // in handshake: beyond, the oldest is dropped
constexpr size_t kMaxParked = 64;
constexpr absl::Duration kArrivalTimeout = absl::Seconds(5);  // handshake and hello together

absl::StatusOr<int> Listen(const std::string& address) {
  ASSIGN_OR_RETURN(const HostPort host_port, SplitHostPort(address));
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const char* host = host_port.host.empty() ? nullptr : host_port.host.c_str();
  if (const int error = getaddrinfo(host, std::to_string(host_port.port).c_str(), &hints, &found); error != 0) {
    return absl::InvalidArgumentError(absl::StrCat("exchange listener: ", address, ": ", gai_strerror(error)));
  }
  absl::Cleanup free_found = [found] { freeaddrinfo(found); };
  const int fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const int on = 1;
  if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
      bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, 64) != 0) {
    const std::string reason = std::strerror(errno);
    if (fd >= 0) close(fd);
    return absl::UnavailableError(absl::StrCat("exchange listener: cannot listen on ", address, ": ", reason));
  }
  return fd;
}

int PortOf(int fd) {
  sockaddr_storage address = {};
  socklen_t length = sizeof(address);
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length);
  char port[16] = "0";
  getnameinfo(reinterpret_cast<sockaddr*>(&address), length, nullptr, 0, port, sizeof(port), NI_NUMERICSERV);
  return std::atoi(port);
}

// A caller who has not said its hello yet.
struct Arriving {
  std::unique_ptr<TlsStream> stream;
  absl::Time deadline;
  bool shaken = false;
  ExchangeHello hello = {};
  size_t received = 0;
};

class Listener : public ExchangeListener {
 public:
  Listener(int fd, int wake_fd, Options options)
      : fd_(fd), wake_fd_(wake_fd), port_(PortOf(fd)), options_(std::move(options)), thread_([this] { Loop(); }) {}
  ~Listener() override {
    stopping_ = true;
    eventfd_write(wake_fd_, 1);
    thread_.join();
    close(fd_);
    close(wake_fd_);
  }
  int port() const override { return port_; }
  absl::StatusOr<std::unique_ptr<TlsStream>> Take(const GroupJoin& join, int peer, absl::Time deadline) override;

 private:
  using Seat = std::pair<std::string, uint32_t>;  // GroupKey, rank

  void Loop();
  std::vector<pollfd> PollSet();
  void AcceptAll();
  absl::StatusOr<bool> Advance(Arriving& caller);  // true: the hello is complete
  void AdvanceAll();
  void Park(Arriving caller);
  void DropClosed(const std::vector<pollfd>& polled);

  const int fd_;
  const int wake_fd_;
  const int port_;
  const Options options_;
  std::atomic<bool> stopping_ = false;
  std::list<Arriving> arriving_;  // the loop's thread only
  absl::Mutex mutex_;
  absl::CondVar parked_changed_;
  std::map<Seat, std::unique_ptr<TlsStream>> parked_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

absl::StatusOr<std::unique_ptr<TlsStream>> Listener::Take(const GroupJoin& join, int peer, absl::Time deadline) {
  const Seat seat(GroupKey(join), static_cast<uint32_t>(peer));
  std::unique_ptr<TlsStream> stream;
  {
    absl::MutexLock lock(&mutex_);
    while (parked_.find(seat) == parked_.end()) {
      if (join.IsCancelled()) return absl::CancelledError("joining the group was cancelled");
      const absl::Time now = absl::Now();
      if (now >= deadline) return absl::DeadlineExceededError(absl::StrCat("rank ", peer, " did not connect in time"));
      parked_changed_.WaitWithTimeout(&mutex_, std::min(deadline - now, absl::Milliseconds(20)));
    }
    stream = std::move(parked_.extract(seat).mapped());
  }
  const char acknowledgement = 1;
  ASSIGN_OR_RETURN(const size_t written, stream->WriteSome({&acknowledgement, 1}));
  if (written != 1) return absl::UnavailableError(absl::StrCat("rank ", peer, " cannot be acknowledged"));
  return stream;
}

void Listener::Loop() {
  while (!stopping_) {
    std::vector<pollfd> polled = PollSet();
    poll(polled.data(), polled.size(), 1000);
    AcceptAll();
    AdvanceAll();
    DropClosed(polled);
  }
}

std::vector<pollfd> Listener::PollSet() {
  std::vector<pollfd> set = {{fd_, POLLIN, 0}, {wake_fd_, POLLIN, 0}};
  for (const Arriving& caller : arriving_) set.push_back({caller.stream->fd(), caller.stream->events(), 0});
  absl::MutexLock lock(&mutex_);
  for (const auto& [seat, stream] : parked_) set.push_back({stream->fd(), POLLIN, 0});
  return set;
}

void Listener::AcceptAll() {
  for (size_t i = 0; i < kMaxArriving; ++i) {
    const int fd = accept4(fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    auto context = MakeServerContext(options_.tls);  // made anew: certificates may have been renewed
    if (!context.ok()) {
      LogWarning("exchange.refused", {{"reason", context.status().message()}});
      close(fd);
      continue;
    }
    auto stream = TlsStream::Create(fd, *context, TlsStream::Side::kServer);
    if (!stream.ok()) continue;
    if (arriving_.size() >= kMaxArriving) arriving_.pop_front();
    arriving_.push_back({*std::move(stream), absl::Now() + kArrivalTimeout});
  }
}

absl::StatusOr<bool> Listener::Advance(Arriving& caller) {
  if (!caller.shaken) {
    ASSIGN_OR_RETURN(caller.shaken, caller.stream->Handshake(options_.cluster));
  }
  while (caller.shaken && caller.received < sizeof(ExchangeHello)) {
    char* out = reinterpret_cast<char*>(&caller.hello) + caller.received;
    ASSIGN_OR_RETURN(const size_t count, caller.stream->ReadSome({out, sizeof(ExchangeHello) - caller.received}));
    if (count == 0) break;
    caller.received += count;
  }
  if (caller.received < sizeof(ExchangeHello)) {
    if (absl::Now() > caller.deadline) return absl::DeadlineExceededError("no hello in time");
    return false;
  }
  if (std::memcmp(caller.hello.magic, kExchangeMagic, sizeof(kExchangeMagic)) != 0 || caller.hello.rank >= kMaxRanks) {
    return absl::InvalidArgumentError("the hello is not one of this protocol version");
  }
  return true;
}

void Listener::AdvanceAll() {
  for (auto it = arriving_.begin(); it != arriving_.end();) {
    const absl::StatusOr<bool> complete = Advance(*it);
    if (complete.ok() && !*complete) {
      ++it;
      continue;
    }
    if (complete.ok()) {
      Park(std::move(*it));
    } else {
      LogWarning("exchange.refused", {{"reason", complete.status().message()}});
    }
    it = arriving_.erase(it);
  }
}

void Listener::Park(Arriving caller) {
  absl::MutexLock lock(&mutex_);
  if (parked_.size() >= kMaxParked) {
    LogWarning("exchange.refused", {{"reason", "too many connections wait for their epoch"}});
    return;
  }
  parked_[Seat(std::string(caller.hello.key, sizeof(caller.hello.key)), caller.hello.rank)] = std::move(caller.stream);
  parked_changed_.SignalAll();
}

// A parked peer says nothing before it is acknowledged: anything to read there is its end.
void Listener::DropClosed(const std::vector<pollfd>& polled) {
  absl::MutexLock lock(&mutex_);
  for (const pollfd& entry : polled) {
    if (entry.revents == 0) continue;
    for (auto it = parked_.begin(); it != parked_.end(); ++it) {
      if (it->second->fd() != entry.fd) continue;
      char byte;
      if (const auto count = it->second->ReadSome({&byte, 1}); !count.ok() || *count != 0) parked_.erase(it);
      break;
    }
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<ExchangeListener>> ExchangeListener::Start(const Options& options) {
  RETURN_IF_ERROR(MakeServerContext(options.tls).status());  // bad files are refused now and not at the first caller
  ASSIGN_OR_RETURN(const int fd, Listen(options.address));
  const int wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_fd < 0) {
    close(fd);
    return absl::UnavailableError("exchange listener: no event descriptor");
  }
  return std::make_unique<Listener>(fd, wake_fd, options);
}

}  // namespace slmmesh
