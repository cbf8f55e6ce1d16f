// The worker's door for other ranks: accepts, checks who calls, and keeps each connection until its epoch asks for it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/tls.h"
#include "worker/collective/group_key.h"
#include "worker/collective/tls_stream.h"

namespace slmmesh {

// What a dialing rank says first: which epoch (GroupKey) and which rank. It is acknowledged by one byte when taken.
struct ExchangeHello {
  char magic[8];
  char key[64];
  uint32_t rank;
};
constexpr char kExchangeMagic[8] = {'s', 'l', 'm', 'x', 'c', 'h', 'g', '1'};

// Thread-safe; owns one thread.
class ExchangeListener {
 public:
  struct Options {
    std::string address = "127.0.0.1:0";  // host:port; port 0 takes a free one
    TlsFiles tls;
    std::string cluster;
  };
  static absl::StatusOr<std::unique_ptr<ExchangeListener>> Start(const Options& options);
  virtual ~ExchangeListener() = default;
  virtual int port() const = 0;
  // The connection of rank `peer` of the epoch `join`, acknowledged. Waits for it, at most until `deadline`.
  virtual absl::StatusOr<std::unique_ptr<TlsStream>> Take(const GroupJoin& join, int peer, absl::Time deadline) = 0;
};

}  // namespace slmmesh
