// slmmesh.v1.Inference: the same models for clients inside the mesh, over mutual TLS, with health and reflection.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/tls.h"
#include "router/api/api.h"

namespace slmmesh {

class InferenceServer {
 public:
  struct Options {
    std::string address = "127.0.0.1:0";
    std::string cluster;
    TlsFiles tls;
    std::vector<Loop*> loops;  // must run until Stop() has returned
    const ApiContext* context = nullptr;
  };
  static absl::StatusOr<std::unique_ptr<InferenceServer>> Start(Options options);
  virtual ~InferenceServer() = default;
  virtual int port() const = 0;
  // Cancels what runs, and waits for its end.
  virtual void Stop() = 0;
};

}  // namespace slmmesh
