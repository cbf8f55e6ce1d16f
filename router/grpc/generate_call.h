// One Generate call: a server stream on gRPC's side, a Generation on a loop's side. Deletes itself when gRPC is done.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <mutex>

#include "router/api/api.h"
#include "router/dispatch/generation.h"
#include "slmmesh/v1/inference.grpc.pb.h"

namespace slmmesh {

class GenerateCall final : public grpc::ServerWriteReactor<v1::GenerateResponse>,
                           public GenerationSink,
                           public std::enable_shared_from_this<GenerateCall> {
 public:
  GenerateCall(const ApiContext* context, Loop* loop, const v1::GenerateRequest& request, absl::Time deadline);
  // Begins on the loop; the reactor may be used by gRPC as soon as the handler has returned it.
  void Begin();

 private:
  // The loop's side.
  void OnModel(absl::StatusOr<std::shared_ptr<const ServedModel>> model);
  void OnTokens(std::shared_ptr<const ServedModel> model, absl::StatusOr<std::vector<uint32_t>> tokens);
  absl::Status StartGeneration(std::shared_ptr<const ServedModel> model, std::vector<uint32_t> tokens);
  void OnDelta(uint32_t choice, ChoiceDelta delta) override;
  void OnPromptLogprobs(uint32_t, const v1::TokenOutput&) override {}
  void OnEnd(const absl::Status& status) override;

  // gRPC's side.
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

  void MaybeWrite();  // with the mutex held
  void End(const absl::Status& status);

  const ApiContext* const context_;
  Loop* const loop_;
  const v1::GenerateRequest request_;
  const absl::Time arrival_, deadline_;
  std::string request_id_;

  // gRPC's reference, until OnDone. Each task that was posted to the loop holds one of its own.
  std::shared_ptr<GenerateCall> self_;

  // The loop's thread only.
  std::unique_ptr<Generation> generation_;
  bool gone_ = false;

  std::mutex mutex_;
  v1::GenerateResponse pending_;  // merged while a write is under way: bounded by the request's own tokens
  v1::GenerateResponse writing_;
  bool has_pending_ = false, is_writing_ = false, ended_ = false, finished_ = false;
  grpc::Status status_;
};

}  // namespace slmmesh
