// For tests: an HTTPS server in this process that wants a client certificate and answers as a handler says, faults
// included. FakeStore (fake_store.h) is the handler that behaves like Kubernetes.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "operator/kube/config.h"

namespace slmmesh::kube {

// One request and the way to answer it. Used on its connection's thread alone.
class FakeExchange {
 public:
  using Headers = std::map<std::string, std::string>;

  std::string method, path, content_type, authorization, user_agent, body;
  std::map<std::string, std::string> query;  // decoded

  virtual ~FakeExchange() = default;
  virtual void Reply(int status, const std::string& body, const Headers& headers = {}) = 0;
  // A chunked 200. Chunk() says whether the client is still there.
  virtual void BeginStream() = 0;
  virtual bool Chunk(const std::string& bytes) = 0;
  virtual void EndStream() = 0;
  virtual void WriteRaw(const std::string& bytes) = 0;  // past HTTP
  virtual void Drop() = 0;                              // closes the connection without a word
  virtual void WaitForEnd() = 0;                        // until the client goes or the server ends
  virtual bool ending() const = 0;                      // the server ends
};

class FakeApiServer {
 public:
  // Called on many threads at once.
  using Handler = std::function<void(FakeExchange& exchange)>;
  static std::unique_ptr<FakeApiServer> Start(Handler handler);
  virtual ~FakeApiServer() = default;

  virtual Config config() const = 0;  // for a client that it lets in
  virtual int port() const = 0;
  virtual int connections() const = 0;  // accepted so far
  virtual int requests() const = 0;
  virtual void CloseIdleConnections() = 0;  // all open connections, in truth
};

// A Status object as the API server writes it.
std::string StatusBody(int code, const std::string& reason, const std::string& message);

}  // namespace slmmesh::kube
