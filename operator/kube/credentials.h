// Who we are, as it stands in the files now: a TLS context and a bearer token that follow rotation.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "operator/kube/config.h"

typedef struct ssl_ctx_st SSL_CTX;

namespace slmmesh::kube {

// Changes when a file is replaced or written. An absent file is a state like any other.
struct FileState {
  uint64_t inode = 0;
  int64_t size = 0;
  int64_t modified_ns = 0;
  bool operator==(const FileState&) const = default;
};

// Thread-safe. Looks at its files on each call (a stat each); what cannot be read leaves the last good value in force.
class Credentials {
 public:
  struct Tls {
    std::shared_ptr<SSL_CTX> context;
    uint64_t generation = 0;  // grows with each change: connections of an older one are not used again
  };
  static absl::StatusOr<std::unique_ptr<Credentials>> Create(const Config& config);

  Tls CurrentTls();
  std::string CurrentToken();  // empty: none

 private:
  struct TlsState {
    FileState ca, cert, key;
    bool operator==(const TlsState&) const = default;
  };

  explicit Credentials(Config config) : config_(std::move(config)) {}
  TlsState StateOfTlsFiles() const;
  absl::StatusOr<std::shared_ptr<SSL_CTX>> BuildContext() const;
  absl::StatusOr<std::string> ReadToken() const;

  const Config config_;
  absl::Mutex mutex_;
  TlsState tls_state_ ABSL_GUARDED_BY(mutex_);
  Tls tls_ ABSL_GUARDED_BY(mutex_);
  FileState token_state_ ABSL_GUARDED_BY(mutex_);
  std::string token_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace slmmesh::kube
