// A head and a worker for the router's tests: real gRPC over real TLS, and nothing behind it. The test says what the
// worker answers, and sees what it was asked.
#pragma once

#include <grpcpp/grpcpp.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "common/tls.h"
#include "slmmesh/v1/head.grpc.pb.h"
#include "slmmesh/v1/worker.grpc.pb.h"

namespace slmmesh {

inline constexpr char kFakeCluster[] = "test";

// Publishes one table; streams end when it is stopped. Thread-safe.
class FakeHead final : public v1::Head::Service {
 public:
  // `address` with port 0 takes a free one; give address() to start a new head in the old one's place.
  FakeHead(const TlsFiles& tls, const std::string& address, const std::string& head_id);
  ~FakeHead() override;
  const std::string& address() const { return address_; }
  void Publish(v1::ClusterTable table);  // head_id and version are set here
  // The newest report for which `want` holds; waits for it.
  v1::RouterReport WaitForReport(const std::function<bool(const v1::RouterReport&)>& want);

  grpc::Status Watch(grpc::ServerContext* context,
                     grpc::ServerReaderWriter<v1::ClusterTable, v1::RouterReport>* stream) override;

 private:
  const std::string head_id_;
  std::string address_;
  std::mutex mutex_;
  std::condition_variable changed_;
  v1::ClusterTable table_;
  std::optional<v1::RouterReport> report_;
  bool stopping_ = false;
  std::unique_ptr<grpc::Server> server_;
};

// Rank 0 of a group. Requests queue up until the test takes them. Thread-safe.
class FakeWorker final : public v1::Worker::Service {
 public:
  FakeWorker(const TlsFiles& tls, v1::ModelInfo model);
  ~FakeWorker() override;
  const std::string& address() const { return address_; }

  // The next Submit or Cancel; waits for it. An empty one when none comes within the test's patience.
  v1::SessionRequest Next();
  v1::Submit NextSubmit() { return Next().submit(); }
  bool HasRequests();
  void Send(const v1::SessionResponse& response);
  // One token; `finish` ends the request.
  void SendToken(uint64_t handle, uint32_t index, uint32_t token,
                 v1::FinishReason finish = v1::FINISH_REASON_UNSPECIFIED);
  // `text` as byte tokens, in one message; the last one finishes.
  void SendText(uint64_t handle, const std::string& text, v1::FinishReason finish = v1::FINISH_REASON_LENGTH);
  void SendError(uint64_t handle, grpc::StatusCode code, const std::string& message);
  void BreakSessions();

  grpc::Status GetModel(grpc::ServerContext* context, const v1::GetModelRequest* request, v1::ModelInfo* info) override;
  grpc::Status Session(grpc::ServerContext* context,
                       grpc::ServerReaderWriter<v1::SessionResponse, v1::SessionRequest>* stream) override;

 private:
  const v1::ModelInfo model_;
  std::string address_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<v1::SessionRequest> requests_;
  grpc::ServerReaderWriter<v1::SessionResponse, v1::SessionRequest>* stream_ = nullptr;  // the latest
  grpc::ServerContext* context_ = nullptr;
  std::unique_ptr<grpc::Server> server_;
};

// The byte tokenizer's model, ChatML, 256 tokens of context, blocks of 4.
v1::ModelInfo FakeModel(const std::string& name = "fake");
// One ready group of one worker.
v1::ClusterTable FakeTable(const FakeWorker& worker, uint64_t epoch = 1);

}  // namespace slmmesh
