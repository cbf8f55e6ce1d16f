#include "router/testing/router_fixture.h"
#include "slmmesh/v1/inference.grpc.pb.h"

namespace slmmesh {
namespace {

class RouterGrpcTest : public RouterTest {
 protected:
  std::unique_ptr<v1::Inference::Stub> Stub() {
    return v1::Inference::NewStub(MakeChannel(Tls(Role::kAdmin), kFakeCluster, Role::kRouter, router_->grpc_address()));
  }
};

TEST_F(RouterGrpcTest, GeneratesFromText) {
  StartMesh();
  const auto stub = Stub();
  grpc::ClientContext context;
  v1::GenerateRequest request;
  request.set_model("fake");
  request.set_text("ab");
  request.mutable_options()->set_max_tokens(3);
  request.mutable_options()->set_temperature(0);
  const auto stream = stub->Generate(&context, request);
  const v1::Submit submit = worker_->NextSubmit();
  EXPECT_EQ(TextOf(submit), "ab");
  EXPECT_EQ(submit.sampling().temperature(), 0);
  worker_->SendText(submit.handle(), "xyz");
  std::string text;
  v1::GenerateResponse response;
  while (stream->Read(&response)) text += response.text();
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(text, "xyz");
  EXPECT_EQ(response.finish_reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(response.usage().completion_tokens(), 3u);
}

TEST_F(RouterGrpcTest, ACancelledCallCancels) {
  StartMesh();
  const auto stub = Stub();
  grpc::ClientContext context;
  v1::GenerateRequest request;
  request.mutable_token_ids()->add_ids('a');
  const auto stream = stub->Generate(&context, request);
  const v1::Submit submit = worker_->NextSubmit();
  context.TryCancel();
  EXPECT_EQ(worker_->Next().cancel().handle(), submit.handle());
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(RouterGrpcTest, RefusesWithReasons) {
  StartMesh();
  const auto stub = Stub();
  const auto status_of = [&](const v1::GenerateRequest& request) {
    grpc::ClientContext context;
    const auto stream = stub->Generate(&context, request);
    v1::GenerateResponse response;
    while (stream->Read(&response)) {
    }
    return stream->Finish().error_code();
  };
  v1::GenerateRequest request;
  request.set_text("x");
  request.set_model("other");
  EXPECT_EQ(status_of(request), grpc::StatusCode::NOT_FOUND);
  request.set_model("fake");
  request.mutable_options()->set_top_p(2);
  EXPECT_EQ(status_of(request), grpc::StatusCode::INVALID_ARGUMENT);
  grpc::ClientContext context;
  v1::ListModelsResponse models;
  ASSERT_TRUE(stub->ListModels(&context, {}, &models).ok());
  EXPECT_EQ(models.models(0).name(), "fake");
}

}  // namespace
}  // namespace slmmesh
