// Ranks on several hosts: a full mesh of mutual-TLS connections, sums by direct exchange.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/tls.h"
#include "worker/collective/communicator.h"
#include "worker/collective/exchange_listener.h"
#include "worker/collective/group_key.h"
#include "worker/collective/tls_stream.h"

namespace slmmesh {

struct TcpOptions {
  TlsFiles tls;
  std::string cluster;
  ExchangeListener* listener = nullptr;  // outlives the call, not needed by the communicator
};

// Each rank dials the ranks below it and takes the calls of those above. Returns when all its connections stand.
absl::StatusOr<std::unique_ptr<Communicator>> ConnectTcp(const GroupJoin& join, const TcpOptions& options);

// Over connections that stand: peers[r] leads to rank r, null for this rank.
std::unique_ptr<Communicator> CreateTcpCommunicator(int rank, std::vector<std::unique_ptr<TlsStream>> peers,
                                                    absl::Duration operation_timeout);

}  // namespace slmmesh
