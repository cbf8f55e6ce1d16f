// A worker without a model: it joins the head as a ready group of one and answers every request at once with the same
// tokens. It shows what the router alone costs.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/tls.h"
#include "slmmesh/v1/worker.pb.h"

namespace slmmesh {

class NullWorker {
 public:
  struct Options {
    std::string listen = "127.0.0.1:0";
    std::string head_address;
    std::string cluster;
    TlsFiles tls;
    std::string worker_id;
    std::string worker_group;
    v1::ModelInfo model;
    uint32_t tokens = 16;  // of an answer, where max_tokens allows
  };
  static absl::StatusOr<std::unique_ptr<NullWorker>> Start(Options options);
  virtual ~NullWorker() = default;
  virtual std::string address() const = 0;
};

}  // namespace slmmesh
