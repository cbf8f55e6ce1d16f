// The one stored secret of the mesh, from which every CA key is derived (docs/adr/0006): HKDF-SHA256 of the master key
// with what the CA is for, mapped to a P-256 scalar.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/tls.h"
#include "operator/kube/client.h"

namespace slmmesh {

inline constexpr char kMasterKeySecret[] = "slm-mesh-ca";  // in the operator's namespace

// Immutable, so thread-safe.
class MasterKey {
 public:
  // From the Secret slm-mesh-ca of `ns`, which is made where it is missing; of two operators that make it at once, one
  // reads the other's.
  static absl::StatusOr<MasterKey> LoadOrCreate(kube::Client* client, const std::string& ns);
  // INVALID_ARGUMENT unless it has 32 bytes.
  static absl::StatusOr<MasterKey> FromBytes(absl::string_view bytes, absl::Time created);

  // `purpose` (a cluster's uid, say) decides the key, `identity` stands in the certificates. Deterministic but for
  // serial number and times of the CA's certificate.
  absl::StatusOr<std::unique_ptr<CertificateAuthority>> DeriveAuthority(const std::string& purpose,
                                                                        const std::string& identity) const;
  absl::Time created() const { return created_; }

 private:
  MasterKey(std::string bytes, absl::Time created) : bytes_(std::move(bytes)), created_(created) {}

  std::string bytes_;
  absl::Time created_;
};

}  // namespace slmmesh
