#include "worker/collective/tcp_communicator.h"

#include <poll.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "worker/collective/epoch_guard.h"
#include "worker/collective/halving_sum.h"

namespace slmmesh {
namespace {

using SteadyClock = std::chrono::steady_clock;
using TimePoint = SteadyClock::time_point;

constexpr std::chrono::microseconds kSpin(50);
constexpr uint64_t kMaxBroadcastBytes = 64 << 20;
// From here on, with more than two ranks, each rank sums its share and hands it out: fewer bytes, one more turn.
constexpr size_t kScatterFloats = 16 << 10;

absl::Span<const char> BytesOf(absl::Span<const float> floats) {
  return {reinterpret_cast<const char*>(floats.data()), floats.size() * sizeof(float)};
}
absl::Span<char> BytesOf(absl::Span<float> floats) {
  return {reinterpret_cast<char*>(floats.data()), floats.size() * sizeof(float)};
}

// What goes to one peer and what comes from it; both shrink as the bytes move.
struct Transfer {
  absl::Span<const char> send;
  absl::Span<char> receive;
};
using Transfers = std::vector<Transfer>;  // by rank

class TcpCommunicator : public Communicator {
 public:
  TcpCommunicator(int rank, std::vector<std::unique_ptr<TlsStream>> peers, absl::Duration operation_timeout)
      : rank_(rank), peers_(std::move(peers)), operation_timeout_(operation_timeout) {}

  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(peers_.size()); }
  absl::Status AllReduceSum(absl::Span<float> data, uint32_t contributors) override;
  absl::Status Broadcast(std::string* bytes, absl::Duration timeout) override;
  absl::Status GatherToRoot(absl::Span<const float> local, absl::Span<const size_t> counts, float* out) override;
  void Abort(const std::string& reason) override {
    (void)Fail(absl::UnavailableError(absl::StrCat("the group's epoch was ended here: ", reason)));
  }

 private:
  TimePoint Deadline(absl::Duration timeout) const {
    return SteadyClock::now() + absl::ToChronoNanoseconds(std::min(timeout, absl::Hours(24)));
  }
  static bool Has(uint32_t contributors, int rank) { return (contributors >> rank & 1) != 0; }
  absl::Status ReduceDirect(absl::Span<float> data, uint32_t contributors);
  absl::Status ReduceByShares(absl::Span<float> data, uint32_t contributors);
  absl::Status Exchange(Transfers transfers, TimePoint deadline);
  absl::StatusOr<bool> MoveSome(int peer, Transfer& transfer);
  absl::Status AwaitReadiness(const Transfers& transfers, TimePoint deadline);
  absl::Status Fail(const absl::Status& status);

  const int rank_;
  const std::vector<std::unique_ptr<TlsStream>> peers_;
  const absl::Duration operation_timeout_;
  std::vector<float> received_;  // [size, floats of one vector or share]
  EpochGuard guard_;
};

absl::Status TcpCommunicator::AllReduceSum(absl::Span<float> data, uint32_t contributors) {
  if (size() > 2 && data.size() >= kScatterFloats) return ReduceByShares(data, contributors);
  return ReduceDirect(data, contributors);
}

absl::Status TcpCommunicator::ReduceDirect(absl::Span<float> data, uint32_t contributors) {
  received_.resize(data.size() * peers_.size());
  Transfers transfers(peers_.size());
  const float* parts[kMaxRanks] = {};
  for (int peer = 0; peer < size(); ++peer) {
    const absl::Span<float> received(received_.data() + data.size() * peer, data.size());
    if (Has(contributors, peer)) parts[peer] = peer == rank_ ? data.data() : received.data();
    if (peer == rank_) continue;
    if (Has(contributors, rank_)) transfers[peer].send = BytesOf(absl::Span<const float>(data));
    if (Has(contributors, peer)) transfers[peer].receive = BytesOf(received);
  }
  RETURN_IF_ERROR(Exchange(std::move(transfers), Deadline(operation_timeout_)));
  SumByHalving({parts, peers_.size()}, data.size(), data.data());
  return absl::OkStatus();
}

// Every element is summed by one rank, in the same order as in the direct exchange: the bits do not differ.
absl::Status TcpCommunicator::ReduceByShares(absl::Span<float> data, uint32_t contributors) {
  const TimePoint deadline = Deadline(operation_timeout_);
  const size_t step = (data.size() + peers_.size() - 1) / peers_.size();
  const auto share = [&](int rank) { return data.subspan(std::min(step * rank, data.size()), step); };
  const absl::Span<float> own = share(rank_);
  received_.resize(own.size() * peers_.size());
  Transfers scatter(peers_.size());
  Transfers gather(peers_.size());
  const float* parts[kMaxRanks] = {};
  for (int peer = 0; peer < size(); ++peer) {
    const absl::Span<float> received(received_.data() + own.size() * peer, own.size());
    if (Has(contributors, peer)) parts[peer] = peer == rank_ ? own.data() : received.data();
    if (peer == rank_) continue;
    if (Has(contributors, rank_)) scatter[peer].send = BytesOf(absl::Span<const float>(share(peer)));
    if (Has(contributors, peer)) scatter[peer].receive = BytesOf(received);
    gather[peer] = {BytesOf(absl::Span<const float>(own)), BytesOf(share(peer))};
  }
  RETURN_IF_ERROR(Exchange(std::move(scatter), deadline));
  SumByHalving({parts, peers_.size()}, own.size(), own.data());
  return Exchange(std::move(gather), deadline);
}

absl::Status TcpCommunicator::Broadcast(std::string* bytes, absl::Duration timeout) {
  uint64_t length = bytes->size();
  char header[sizeof(length)];
  if (rank_ == 0) {
    if (length > kMaxBroadcastBytes) {
      return absl::InvalidArgumentError(absl::StrCat("broadcast of ", length, " bytes: at most ", kMaxBroadcastBytes));
    }
    std::string message(reinterpret_cast<const char*>(&length), sizeof(length));
    message += *bytes;
    Transfers transfers(peers_.size());
    for (int peer = 1; peer < size(); ++peer) transfers[peer].send = message;
    return Exchange(std::move(transfers), Deadline(std::min(timeout, operation_timeout_)));
  }
  Transfers transfers(peers_.size());
  transfers[0].receive = absl::MakeSpan(header);
  const TimePoint deadline = Deadline(timeout);
  RETURN_IF_ERROR(Exchange(transfers, deadline));
  std::memcpy(&length, header, sizeof(length));
  if (length > kMaxBroadcastBytes) return Fail(absl::InternalError("exchange: a broadcast's length is damaged"));
  bytes->resize(length);
  transfers[0].receive = {bytes->data(), bytes->size()};
  return Exchange(std::move(transfers), deadline);
}

absl::Status TcpCommunicator::GatherToRoot(absl::Span<const float> local, absl::Span<const size_t> counts, float* out) {
  Transfers transfers(peers_.size());
  if (rank_ == 0) {
    std::copy(local.begin(), local.end(), out);
    float* next = out + counts[0];
    for (int peer = 1; peer < size(); next += counts[peer], ++peer) {
      transfers[peer].receive = BytesOf(absl::Span<float>(next, counts[peer]));
    }
  } else {
    transfers[0].send = BytesOf(local);
  }
  return Exchange(std::move(transfers), Deadline(operation_timeout_));
}

// Moves all bytes both ways at once, so that no two ranks wait for each other to read.
absl::Status TcpCommunicator::Exchange(Transfers transfers, TimePoint deadline) {
  TimePoint spin_end = SteadyClock::now() + kSpin;
  while (true) {
    if (guard_.ended()) return guard_.status();
    bool pending = false;
    bool moved = false;
    for (int peer = 0; peer < size(); ++peer) {
      Transfer& transfer = transfers[peer];
      if (transfer.send.empty() && transfer.receive.empty()) continue;
      const absl::StatusOr<bool> some = MoveSome(peer, transfer);
      if (!some.ok()) return Fail(Annotate(some.status(), absl::StrCat("rank ", peer, " is gone")));
      moved |= *some;
      pending |= !transfer.send.empty() || !transfer.receive.empty();
    }
    if (!pending) return absl::OkStatus();
    if (moved) {
      spin_end = SteadyClock::now() + kSpin;
    } else if (SteadyClock::now() >= spin_end) {
      RETURN_IF_ERROR(AwaitReadiness(transfers, deadline));
    }
  }
}

absl::StatusOr<bool> TcpCommunicator::MoveSome(int peer, Transfer& transfer) {
  size_t moved = 0;
  if (!transfer.send.empty()) {
    ASSIGN_OR_RETURN(const size_t sent, peers_[peer]->WriteSome(transfer.send));
    transfer.send.remove_prefix(sent);
    moved += sent;
  }
  if (!transfer.receive.empty()) {
    ASSIGN_OR_RETURN(const size_t received, peers_[peer]->ReadSome(transfer.receive));
    transfer.receive.remove_prefix(received);
    moved += received;
  }
  return moved != 0;
}

absl::Status TcpCommunicator::AwaitReadiness(const Transfers& transfers, TimePoint deadline) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - SteadyClock::now()).count();
  if (left <= 0) return Fail(absl::DeadlineExceededError("a rank did not answer in time"));
  std::vector<pollfd> polled;
  for (int peer = 0; peer < size(); ++peer) {
    short events = 0;
    if (!transfers[peer].receive.empty()) events |= POLLIN;
    if (!transfers[peer].send.empty()) events |= POLLOUT;
    if (events != 0) polled.push_back({peers_[peer]->fd(), events, 0});
  }
  poll(polled.data(), polled.size(), static_cast<int>(std::min<int64_t>(left, 1000)));
  return guard_.ended() ? guard_.status() : absl::OkStatus();
}

// Shut sockets are ready at once: a wait in poll() ends, here and at the peers.
absl::Status TcpCommunicator::Fail(const absl::Status& status) {
  const absl::Status first = guard_.End(status);
  for (const auto& peer : peers_) {
    if (peer != nullptr) peer->ShutDown();
  }
  return first;
}

}  // namespace

std::unique_ptr<Communicator> CreateTcpCommunicator(int rank, std::vector<std::unique_ptr<TlsStream>> peers,
                                                    absl::Duration operation_timeout) {
  return std::make_unique<TcpCommunicator>(rank, std::move(peers), operation_timeout);
}

}  // namespace slmmesh
