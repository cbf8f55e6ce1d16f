// What passes between the HTTP server and what answers: a parsed request in, an exchange to answer on.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"

namespace slmmesh {

class Loop;

struct HttpRequest {
  std::string method;
  std::string path;  // without the query
  std::string authorization;
  std::string content_type;
  std::string request_id;  // X-Request-Id
  std::string timeout_ms;  // X-Request-Timeout-Ms
  std::string body;
  absl::Time arrival;  // of its last byte
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
};

// One request's way back. The loop's thread only. After the client is gone every call is ignored.
class HttpExchange {
 public:
  virtual ~HttpExchange() = default;
  virtual Loop* loop() const = 0;
  virtual bool gone() const = 0;
  // `callback` is called once if the client goes away, or is too slow, before the answer's end.
  virtual void OnGone(std::function<void()> callback) = 0;

  virtual void Respond(HttpResponse response) = 0;
  // Or a stream: the head (its body is ignored), pieces of body, the end. Pieces of one event loop turn go out
  // together.
  virtual void StartStream(HttpResponse head) = 0;
  virtual void Write(std::string_view piece) = 0;
  virtual void End() = 0;
};

class HttpHandler {
 public:
  virtual ~HttpHandler() = default;
  // On the connection's loop.
  virtual void Handle(HttpRequest request, std::shared_ptr<HttpExchange> exchange) = 0;
  // The body of an answer to what is no proper HTTP request.
  virtual HttpResponse ProtocolError(int status, const std::string& message) = 0;
};

struct HttpLimits {
  size_t max_header_bytes = 16 << 10;
  size_t max_body_bytes = 16 << 20;
  size_t max_output_bytes = 16 << 20;  // not yet taken by the client: beyond, it is too slow and is cut off
  uint32_t max_connections = 4096;
  absl::Duration read_timeout = absl::Seconds(30);   // from a request's first byte to its last
  absl::Duration write_timeout = absl::Seconds(30);  // without the client taking a byte
  absl::Duration idle_timeout = absl::Seconds(120);  // between requests
};

}  // namespace slmmesh
