// A small blocking HTTP/1.1 client for `mesh chat` and `mesh bench`: one connection, bodies streamed as they come.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace slmmesh {

struct HttpClientOptions {
  std::string url;                              // http://host:port or https://host:port
  std::string ca_file;                          // https: PEM; empty: the system's
  std::string api_key;                          // sent as a bearer token unless empty
  absl::Duration timeout = absl::Seconds(120);  // of a connect, and between two reads
};

class HttpClient {
 public:
  static absl::StatusOr<std::unique_ptr<HttpClient>> Connect(const HttpClientOptions& options);
  virtual ~HttpClient() = default;

  // The status code; `on_body` sees the body piece by piece. UNAVAILABLE when the connection breaks.
  using OnBody = std::function<void(absl::string_view)>;
  virtual absl::StatusOr<int> Request(const std::string& method, const std::string& path, const std::string& body,
                                      const OnBody& on_body) = 0;
};

}  // namespace slmmesh
