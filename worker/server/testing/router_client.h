// For tests: one router's Session stream, read message by message.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/tls.h"
#include "slmmesh/v1/worker.grpc.pb.h"

namespace slmmesh {

class RouterClient {
 public:
  RouterClient(const TlsFiles& tls, const std::string& address, const std::string& group_id, uint64_t epoch)
      : stub_(v1::Worker::NewStub(MakeChannel(tls, "test", Role::kWorker, address))), call_(stub_->Session(&context_)) {
    context_.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    v1::SessionRequest request;
    request.mutable_hello()->set_router_id("router-0");
    request.mutable_hello()->set_group_id(group_id);
    request.mutable_hello()->set_epoch(epoch);
    call_->Write(request);
  }
  ~RouterClient() {
    if (!is_finished_) context_.TryCancel(), call_->Finish();
  }

  void Submit(const v1::Submit& submit) {
    v1::SessionRequest request;
    *request.mutable_submit() = submit;
    call_->Write(request);
  }
  void Cancel(uint64_t handle) {
    v1::SessionRequest request;
    request.mutable_cancel()->set_handle(handle);
    call_->Write(request);
  }
  // The first message from now on that `wanted` accepts; false when the stream ends before. Outputs are kept.
  bool ReadUntil(const std::function<bool(const v1::SessionResponse&)>& wanted, v1::SessionResponse* message) {
    while (call_->Read(message)) {
      outputs_.insert(outputs_.end(), message->outputs().begin(), message->outputs().end());
      if (wanted(*message)) return true;
    }
    return false;
  }
  const std::vector<v1::TokenOutput>& outputs() const { return outputs_; }
  // Reads to the end of the stream.
  grpc::Status Finish() {
    v1::SessionResponse message;
    ReadUntil([](const v1::SessionResponse&) { return false; }, &message);
    is_finished_ = true;
    return call_->Finish();
  }

 private:
  const std::unique_ptr<v1::Worker::Stub> stub_;
  grpc::ClientContext context_;
  const std::unique_ptr<grpc::ClientReaderWriter<v1::SessionRequest, v1::SessionResponse>> call_;
  std::vector<v1::TokenOutput> outputs_;
  bool is_finished_ = false;
};

}  // namespace slmmesh
