#include "worker/server/testing/fake_head.h"

#include <algorithm>
#include <chrono>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace slmmesh {

FakeHead::FakeHead(const TlsFiles& tls, int port) {
  grpc::ServerBuilder builder;
  AddListeningPort(builder, tls, absl::StrCat("127.0.0.1:", port), &port_);
  builder.RegisterService(this);
  server_ = builder.BuildAndStart();
  if (server_ == nullptr) abort();
}

FakeHead::~FakeHead() { server_->Shutdown(std::chrono::system_clock::now()); }

void FakeHead::AwaitTrue(const char* what, const std::function<bool()>& condition) {
  if (!mutex_.AwaitWithTimeout(absl::Condition(&condition), absl::Seconds(30))) ADD_FAILURE() << what << ": never";
}

void FakeHead::Assign(const std::string& group_id, uint64_t epoch, const std::vector<std::string>& worker_ids) {
  v1::JoinResponse response;
  v1::Assignment* assignment = response.mutable_assignment();
  assignment->mutable_seat()->set_group_id(group_id);
  assignment->mutable_seat()->set_epoch(epoch);
  assignment->mutable_seat()->set_size(static_cast<uint32_t>(worker_ids.size()));
  for (const std::string& worker_id : worker_ids) {
    const v1::Offer offer = AwaitOffer(worker_id);
    v1::Peer* peer = assignment->add_peers();
    peer->set_rank(static_cast<uint32_t>(assignment->peers_size() - 1));
    peer->set_worker_id(worker_id);
    peer->set_incarnation(offer.incarnation());
    peer->set_host_id(offer.host_id());
    peer->set_endpoint(offer.endpoint());
    peer->set_exchange_endpoint(offer.exchange_endpoint());
  }
  for (uint32_t rank = 0; rank < worker_ids.size(); ++rank) {
    assignment->mutable_seat()->set_rank(rank);
    Write(worker_ids[rank], response);
  }
}

void FakeHead::SetHostId(const std::string& worker_id, const std::string& host_id) {
  AwaitOffer(worker_id);
  absl::MutexLock lock(&mutex_);
  members_[worker_id].offer.set_host_id(host_id);
}

void FakeHead::Release(const std::string& worker_id, const std::string& reason) {
  v1::JoinResponse response;
  response.mutable_release()->set_reason(reason);
  Write(worker_id, response);
}

void FakeHead::Drain(const std::string& worker_id, const v1::GroupSeat& seat) {
  v1::JoinResponse response;
  *response.mutable_drain()->mutable_seat() = seat;
  Write(worker_id, response);
}

void FakeHead::Write(const std::string& worker_id, const v1::JoinResponse& response) {
  absl::MutexLock lock(&mutex_);
  const auto found = members_.find(worker_id);
  if (found != members_.end() && found->second.stream != nullptr) found->second.stream->Write(response);
}

v1::Offer FakeHead::AwaitOffer(const std::string& worker_id) {
  absl::MutexLock lock(&mutex_);
  AwaitTrue("an offer", [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return members_.count(worker_id) != 0 && members_.at(worker_id).stream != nullptr;
  });
  return members_[worker_id].offer;
}

v1::WorkerStatus FakeHead::Await(const std::string& worker_id,
                                 const std::function<bool(const v1::WorkerStatus&)>& wanted) {
  absl::MutexLock lock(&mutex_);
  AwaitTrue("a status", [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return members_.count(worker_id) != 0 && wanted(members_.at(worker_id).status);
  });
  return members_[worker_id].status;
}

v1::WorkerStatus FakeHead::AwaitPhase(const std::string& worker_id, v1::WorkerPhase phase, uint64_t epoch) {
  return Await(worker_id, [&](const v1::WorkerStatus& status) {
    return status.phase() == phase && status.seat().epoch() == epoch;
  });
}

int FakeHead::joins() {
  absl::MutexLock lock(&mutex_);
  return joins_;
}

void FakeHead::AwaitGone(const std::string& worker_id) {
  absl::MutexLock lock(&mutex_);
  AwaitTrue("an end", [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return members_.count(worker_id) != 0 && members_.at(worker_id).stream == nullptr;
  });
}

grpc::Status FakeHead::Join(grpc::ServerContext*, grpc::ServerReaderWriter<v1::JoinResponse, v1::JoinRequest>* stream) {
  v1::JoinRequest request;
  if (!stream->Read(&request) || !request.has_offer()) return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "offer");
  const std::string worker_id = request.offer().worker_id();
  v1::JoinResponse lease;
  lease.mutable_lease()->set_heartbeat_ms(50);
  lease.mutable_lease()->set_lease_ms(5000);
  stream->Write(lease);
  {
    absl::MutexLock lock(&mutex_);
    members_[worker_id] = {stream, request.offer(), {}};
    ++joins_;
  }
  while (stream->Read(&request)) {
    absl::MutexLock lock(&mutex_);
    members_[worker_id].status = request.status();
  }
  absl::MutexLock lock(&mutex_);
  members_[worker_id].stream = nullptr;
  return grpc::Status::OK;
}

}  // namespace slmmesh
