// Asks workers for their models (GetModel) and compiles tokenizer and template, on a thread of its own: a large
// vocabulary takes a second that no request should wait for.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "router/dispatch/served_model.h"

namespace grpc {
class Channel;
}

namespace slmmesh {

// Thread-safe.
class ModelFetcher {
 public:
  using Result = absl::StatusOr<std::shared_ptr<const ServedModel>>;
  using OnResult = std::function<void(const std::string& model_key, Result result)>;

  // `on_result` is called on the fetcher's thread, once for each Fetch().
  ModelFetcher(RouterMetrics* metrics, OnResult on_result);
  ~ModelFetcher();  // ends after the fetch that runs now
  // The caller sees to it that at most one fetch for a key is under way.
  void Fetch(const std::string& model_key, std::shared_ptr<grpc::Channel> channel);

 private:
  struct Job {
    std::string model_key;
    std::shared_ptr<grpc::Channel> channel;
  };
  void Run();
  Result FetchNow(const Job& job);

  RouterMetrics* const metrics_;
  const OnResult on_result_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Job> jobs_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace slmmesh
