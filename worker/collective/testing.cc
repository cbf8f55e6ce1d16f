#include "worker/collective/testing.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/random.h"

namespace slmmesh::collective_testing {
namespace {

template <typename T>
T Must(absl::StatusOr<T> value) {
  if (value.ok()) return *std::move(value);
  std::fprintf(stderr, "%s\n", value.status().ToString().c_str());
  std::abort();
}

}  // namespace

const char* TransportName(Transport transport) {
  switch (transport) {
    case Transport::kLocal:
      return "local";
    case Transport::kSharedMemory:
      return "shm";
    case Transport::kTcp:
      return "tcp";
  }
  return "?";
}

TestCertificates::TestCertificates(const std::string& cluster)
    : folder_(std::filesystem::temp_directory_path() / absl::StrCat("slmmesh-test-", RandomHexId(8))),
      authority_(Must(CertificateAuthority::Create(cluster))) {}

TestCertificates::~TestCertificates() {
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

TlsFiles TestCertificates::Issue(Role role) {
  const std::string folder = absl::StrCat(folder_, "/", std::string(RoleName(role)));
  std::filesystem::create_directories(folder);
  if (!authority_->IssueInto(folder, role, "pod-0", 3600).ok()) std::abort();
  return TlsFilesIn(folder);
}

TestGroup::TestGroup(Transport transport, int size, absl::Duration operation_timeout) {
  join_.group_id = "group";
  join_.epoch = RandomUint64();
  join_.join_timeout = absl::Seconds(20);
  join_.operation_timeout = operation_timeout;
  if (transport == Transport::kTcp) {
    certificates_ = std::make_unique<TestCertificates>("test");
    tls_ = certificates_->Issue(Role::kWorker);
  }
  for (int rank = 0; rank < size; ++rank) {
    GroupMember member = {"host", "", RandomUint64()};
    if (transport == Transport::kTcp) {
      listeners_.push_back(Must(ExchangeListener::Start({"127.0.0.1:0", tls_, "test"})));
      member.host_id = absl::StrCat("host-", rank);
      member.exchange_endpoint = absl::StrCat("127.0.0.1:", listeners_.back()->port());
    }
    join_.members.push_back(member);
  }
}

GroupJoin TestGroup::JoinOf(int rank) const {
  GroupJoin join = join_;
  join.rank = rank;
  return join;
}

TcpOptions TestGroup::TcpOf(int rank) const {
  return {tls_, "test", listeners_.empty() ? nullptr : listeners_[rank].get()};
}

std::vector<std::unique_ptr<Communicator>> TestGroup::ConnectAll() const {
  std::vector<std::unique_ptr<Communicator>> ranks(join_.members.size());
  std::vector<std::thread> threads;
  for (int rank = 0; rank < join_.size(); ++rank) {
    threads.emplace_back([&, rank] { ranks[rank] = Must(Connect(rank)); });
  }
  for (std::thread& thread : threads) thread.join();
  return ranks;
}

}  // namespace slmmesh::collective_testing
