#include "router/testing/fake_mesh.h"

#include <grpc/grpc.h>

#include <chrono>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/grpc_status.h"
#include "router/testing/byte_tokenizer.h"

namespace slmmesh {
namespace {

constexpr std::chrono::seconds kPatience(20);  // of a test that is about to fail

// Between two tests gRPC's library would stop and start again, and stopping may wait ten seconds for its poller.
void KeepGrpc() {
  static const bool kept = [] {
    grpc_init();
    return true;
  }();
  static_cast<void>(kept);
}

std::unique_ptr<grpc::Server> Serve(const TlsFiles& tls, grpc::Service* service, const std::string& listen,
                                    std::string* address) {
  KeepGrpc();
  grpc::ServerBuilder builder;
  int port = 0;
  AddListeningPort(builder, tls, listen, &port);
  builder.RegisterService(service);
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  *address = absl::StrCat("127.0.0.1:", port);
  return server;
}

}  // namespace

FakeHead::FakeHead(const TlsFiles& tls, const std::string& address, const std::string& head_id) : head_id_(head_id) {
  server_ = Serve(tls, this, address, &address_);
}

FakeHead::~FakeHead() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  server_->Shutdown(std::chrono::system_clock::now());
  server_->Wait();
}

void FakeHead::Publish(v1::ClusterTable table) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    table.set_head_id(head_id_);
    table.set_version(table_.version() + 1);
    table_ = std::move(table);
  }
  changed_.notify_all();
}

v1::RouterReport FakeHead::WaitForReport(const std::function<bool(const v1::RouterReport&)>& want) {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait_for(lock, kPatience, [&] { return report_.has_value() && want(*report_); });
  return report_.value_or(v1::RouterReport());
}

grpc::Status FakeHead::Watch(grpc::ServerContext* context,
                             grpc::ServerReaderWriter<v1::ClusterTable, v1::RouterReport>* stream) {
  if (const absl::Status peer = CheckPeer(*context, kFakeCluster, {Role::kRouter}); !peer.ok()) {
    return ToGrpcStatus(peer);
  }
  bool ended = false;
  std::thread tables([&] {
    std::unique_lock<std::mutex> lock(mutex_);
    uint64_t sent = 0;
    while (true) {
      changed_.wait(lock, [&] { return ended || stopping_ || table_.version() > sent; });
      if (ended || stopping_) return;
      sent = table_.version();
      stream->Write(table_);
    }
  });
  v1::RouterReport report;
  while (stream->Read(&report)) {
    const std::lock_guard<std::mutex> lock(mutex_);
    report_ = report;
    changed_.notify_all();
  }
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    ended = true;
  }
  changed_.notify_all();
  tables.join();
  return grpc::Status::OK;
}

FakeWorker::FakeWorker(const TlsFiles& tls, v1::ModelInfo model) : model_(std::move(model)) {
  server_ = Serve(tls, this, "127.0.0.1:0", &address_);
}

FakeWorker::~FakeWorker() {
  server_->Shutdown(std::chrono::system_clock::now());
  server_->Wait();
}

v1::SessionRequest FakeWorker::Next() {
  std::unique_lock<std::mutex> lock(mutex_);
  if (!arrived_.wait_for(lock, kPatience, [this] { return !requests_.empty(); })) return {};
  v1::SessionRequest request = std::move(requests_.front());
  requests_.pop_front();
  return request;
}

bool FakeWorker::HasRequests() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return !requests_.empty();
}

void FakeWorker::Send(const v1::SessionResponse& response) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (stream_ != nullptr) stream_->Write(response);
}

void FakeWorker::SendToken(uint64_t handle, uint32_t index, uint32_t token, v1::FinishReason finish) {
  v1::SessionResponse response;
  v1::TokenOutput* output = response.add_outputs();
  output->set_handle(handle);
  output->set_index(index);
  output->set_token_id(token);
  output->set_finish_reason(finish);
  Send(response);
}

void FakeWorker::SendText(uint64_t handle, const std::string& text, v1::FinishReason finish) {
  v1::SessionResponse response;
  for (size_t i = 0; i < text.size(); ++i) {
    v1::TokenOutput* output = response.add_outputs();
    output->set_handle(handle);
    output->set_index(i);
    output->set_token_id(static_cast<unsigned char>(text[i]));
    if (i + 1 == text.size()) output->set_finish_reason(finish);
  }
  Send(response);
}

void FakeWorker::SendError(uint64_t handle, grpc::StatusCode code, const std::string& message) {
  v1::SessionResponse response;
  v1::TokenOutput* output = response.add_outputs();
  output->set_handle(handle);
  output->set_finish_reason(v1::FINISH_REASON_ERROR);
  output->set_error_code(code);
  output->set_error_message(message);
  Send(response);
}

void FakeWorker::BreakSessions() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (context_ != nullptr) context_->TryCancel();
}

grpc::Status FakeWorker::GetModel(grpc::ServerContext* context, const v1::GetModelRequest*, v1::ModelInfo* info) {
  *info = model_;
  return ToGrpcStatus(CheckPeer(*context, kFakeCluster, {Role::kRouter}));
}

grpc::Status FakeWorker::Session(grpc::ServerContext* context,
                                 grpc::ServerReaderWriter<v1::SessionResponse, v1::SessionRequest>* stream) {
  if (const absl::Status peer = CheckPeer(*context, kFakeCluster, {Role::kRouter}); !peer.ok()) {
    return ToGrpcStatus(peer);
  }
  v1::SessionRequest request;
  if (!stream->Read(&request)) return grpc::Status::OK;
  v1::SessionResponse welcome;
  welcome.mutable_welcome()->set_group_id(request.hello().group_id());
  welcome.mutable_welcome()->set_epoch(request.hello().epoch());
  welcome.mutable_load()->set_max_running(64);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stream_ = stream;
    context_ = context;
    stream->Write(welcome);
  }
  while (stream->Read(&request)) {
    const std::lock_guard<std::mutex> lock(mutex_);
    requests_.push_back(request);
    arrived_.notify_all();
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  if (stream_ == stream) {
    stream_ = nullptr;
    context_ = nullptr;
  }
  return grpc::Status::OK;
}

v1::ModelInfo FakeModel(const std::string& name) {
  v1::ModelInfo model;
  model.set_served_name(name);
  model.set_vocab_size(kByteVocabulary);
  model.set_max_model_len(256);
  model.set_block_size(4);
  model.set_tokenizer_json(ByteTokenizerJson());
  model.set_chat_template(ChatMlTemplate());
  model.set_eos_token("<|im_end|>");
  model.add_eos_token_ids(kImEnd);
  model.set_digest("0123456789abcdef");
  model.set_created_unix_seconds(1700000000);
  return model;
}

v1::ClusterTable FakeTable(const FakeWorker& worker, uint64_t epoch) {
  v1::ClusterTable table;
  v1::Group* group = table.add_groups();
  group->set_group_id("group-0");
  group->set_epoch(epoch);
  group->set_model_key("fake@0123");
  group->set_size(1);
  group->set_state(v1::GROUP_STATE_READY);
  group->add_worker_ids("worker-0");
  group->set_leader_endpoint(worker.address());
  return table;
}

}  // namespace slmmesh
