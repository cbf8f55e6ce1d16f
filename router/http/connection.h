// One client connection: reads requests, one at a time in order, and writes their answers. It always has a read under
// way, so a client that goes away is noticed while its request waits or streams. One loop's thread.
#pragma once

#include <atomic>
#include <boost/asio/ip/tcp.hpp>
#include <chrono>
#include <memory>

#include "absl/container/flat_hash_set.h"
#include "router/http/http_message.h"

typedef struct ssl_ctx_st SSL_CTX;

namespace slmmesh {

class Connection {
 public:
  virtual ~Connection() = default;
  // Looks at the deadlines of reading, writing and idling.
  virtual void Sweep(std::chrono::steady_clock::time_point now) = 0;
  // Ends idle connections at once, busy ones after their answer.
  virtual void Drain() = 0;
};

// What the connections of one loop share.
struct ConnectionShared {
  Loop* loop = nullptr;
  HttpHandler* handler = nullptr;
  HttpLimits limits;
  std::shared_ptr<std::atomic<uint32_t>> open_connections;  // over all loops
  bool draining = false;
  absl::flat_hash_set<Connection*> connections;
};

// Starts to serve; the connection owns itself until it is closed. `tls` null: plaintext.
void ServeConnection(boost::asio::ip::tcp::socket socket, SSL_CTX* tls, std::shared_ptr<ConnectionShared> shared);

}  // namespace slmmesh
