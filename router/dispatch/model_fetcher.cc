#include "router/dispatch/model_fetcher.h"

#include <grpcpp/grpcpp.h>

#include <chrono>

#include "common/grpc_status.h"
#include "slmmesh/v1/worker.grpc.pb.h"

namespace slmmesh {
namespace {

constexpr std::chrono::seconds kDeadline(10);

}  // namespace

ModelFetcher::ModelFetcher(RouterMetrics* metrics, OnResult on_result)
    : metrics_(metrics), on_result_(std::move(on_result)), thread_([this] { Run(); }) {}

ModelFetcher::~ModelFetcher() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void ModelFetcher::Fetch(const std::string& model_key, std::shared_ptr<grpc::Channel> channel) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    jobs_.push_back({model_key, std::move(channel)});
  }
  wake_.notify_one();
}

void ModelFetcher::Run() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return stop_ || !jobs_.empty(); });
    if (stop_) return;
    const Job job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    on_result_(job.model_key, FetchNow(job));
    lock.lock();
  }
}

ModelFetcher::Result ModelFetcher::FetchNow(const Job& job) {
  const std::unique_ptr<v1::Worker::Stub> stub = v1::Worker::NewStub(job.channel);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kDeadline);
  v1::ModelInfo info;
  const grpc::Status status = stub->GetModel(&context, v1::GetModelRequest(), &info);
  if (!status.ok()) return FromGrpcStatus(status);
  return ServedModel::Create(job.model_key, std::move(info), metrics_);
}

}  // namespace slmmesh
