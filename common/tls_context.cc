// OpenSSL contexts that follow their files.
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include <map>
#include <mutex>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/log.h"
#include "common/status.h"
#include "common/tls.h"
#include "common/tls_openssl.h"

namespace slmmesh {
namespace {

enum class Side { kServer, kServerOfAnyone, kClient };

// Changes when a file is replaced or written. An absent file is a state like any other.
struct FileState {
  uint64_t inode = 0;
  int64_t size = 0;
  int64_t modified_ns = 0;
  bool operator==(const FileState&) const = default;
};

FileState StateOf(const std::string& path) {
  struct stat info;
  if (path.empty() || stat(path.c_str(), &info) != 0) return {};
  return {info.st_ino, info.st_size, info.st_mtim.tv_sec * int64_t{1000000000} + info.st_mtim.tv_nsec};
}

std::vector<FileState> StateOf(const TlsFiles& files) {
  return {StateOf(files.cert), StateOf(files.key), StateOf(files.ca)};
}

absl::Status LoadFiles(SSL_CTX* context, const TlsFiles& files) {
  if (SSL_CTX_use_certificate_chain_file(context, files.cert.c_str()) != 1) {
    return OpensslError(files.cert + ": cannot use this certificate");
  }
  if (SSL_CTX_use_PrivateKey_file(context, files.key.c_str(), SSL_FILETYPE_PEM) != 1) {
    return OpensslError(files.key + ": cannot use this key (is it the certificate's?)");
  }
  if (!files.ca.empty() && SSL_CTX_load_verify_locations(context, files.ca.c_str(), nullptr) != 1) {
    return OpensslError(files.ca + ": cannot use this CA certificate");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<SSL_CTX>> BuildContext(const TlsFiles& files, Side side) {
  if (side == Side::kClient && files.ca.empty()) {
    return absl::InvalidArgumentError("a TLS client needs the CA's certificate: the file's name is empty");
  }
  std::shared_ptr<SSL_CTX> context(SSL_CTX_new(side == Side::kClient ? TLS_client_method() : TLS_server_method()),
                                   SSL_CTX_free);
  if (context == nullptr) return OpensslError("cannot create a TLS context");
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_options(context.get(), SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_set_cipher_list(context.get(), "ECDHE+AESGCM:ECDHE+CHACHA20");  // of TLS 1.2
  RETURN_IF_ERROR(LoadFiles(context.get(), files));
  if (!files.ca.empty()) {
    const int without_certificate = side == Side::kServerOfAnyone ? 0 : SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER | without_certificate, nullptr);
    // A resumed session would skip the check of the peer's certificate.
    SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
    SSL_CTX_set_options(context.get(), SSL_OP_NO_TICKET);
    SSL_CTX_set_num_tickets(context.get(), 0);
  }
  return context;
}

// One per process: (files, side) → the context last built from them.
class ContextCache {
 public:
  absl::StatusOr<std::shared_ptr<SSL_CTX>> Get(const TlsFiles& files, Side side) {
    const std::lock_guard<std::mutex> lock(mutex_);
    Entry& entry = entries_[std::make_tuple(files.cert, files.key, files.ca, side)];
    const std::vector<FileState> state = StateOf(files);  // before reading: a change while we read is seen next time
    if (entry.context != nullptr && entry.state == state) return entry.context;
    absl::StatusOr<std::shared_ptr<SSL_CTX>> built = BuildContext(files, side);
    if (!built.ok() && entry.context == nullptr) return built.status();
    entry.state = state;
    if (built.ok()) {
      entry.context = *std::move(built);
    } else {
      LogWarning("tls.reload_failed", {{"reason", built.status()}});
    }
    return entry.context;
  }

 private:
  struct Entry {
    std::vector<FileState> state;
    std::shared_ptr<SSL_CTX> context;
  };
  std::mutex mutex_;
  std::map<std::tuple<std::string, std::string, std::string, Side>, Entry> entries_;
};

ContextCache& Cache() {
  static auto* cache = new ContextCache;
  return *cache;
}

}  // namespace

absl::StatusOr<std::shared_ptr<SSL_CTX>> MakeServerContext(const TlsFiles& files, ClientCertificate wanted) {
  return Cache().Get(files, wanted == ClientCertificate::kRequired ? Side::kServer : Side::kServerOfAnyone);
}

absl::StatusOr<std::shared_ptr<SSL_CTX>> MakeClientContext(const TlsFiles& files) {
  return Cache().Get(files, Side::kClient);
}

void ExpectPeer(SSL* connection, const std::string& cluster, Role role) {
  const std::string name = TlsHostName(role, cluster);
  SSL_set_hostflags(connection, X509_CHECK_FLAG_NO_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
  SSL_set1_host(connection, name.c_str());
  SSL_set_tlsext_host_name(connection, name.c_str());
}

}  // namespace slmmesh
