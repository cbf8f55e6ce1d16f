// For tests and the benchmark: certificates and joins of a whole group on this machine.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "worker/collective/connect_group.h"

namespace slmmesh::collective_testing {

enum class Transport { kLocal, kSharedMemory, kTcp };
const char* TransportName(Transport transport);

// A cluster's authority and what it issues, in a temporary folder, removed at the end.
class TestCertificates {
 public:
  explicit TestCertificates(const std::string& cluster);
  ~TestCertificates();
  TlsFiles Issue(Role role);

 private:
  std::string folder_;
  std::unique_ptr<CertificateAuthority> authority_;
};

// One epoch of `size` ranks, with a listener a rank where the transport needs one.
class TestGroup {
 public:
  TestGroup(Transport transport, int size, absl::Duration operation_timeout);
  GroupJoin JoinOf(int rank) const;
  TcpOptions TcpOf(int rank) const;
  absl::StatusOr<std::unique_ptr<Communicator>> Connect(int rank) const {
    return ConnectGroup(JoinOf(rank), TcpOf(rank));
  }
  TestCertificates& certificates() const { return *certificates_; }  // kTcp only
  // All ranks, connected from a thread each; aborts the program when one fails.
  std::vector<std::unique_ptr<Communicator>> ConnectAll() const;

 private:
  GroupJoin join_;
  std::unique_ptr<TestCertificates> certificates_;
  TlsFiles tls_;
  std::vector<std::unique_ptr<ExchangeListener>> listeners_;
};

}  // namespace slmmesh::collective_testing
