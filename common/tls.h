// The one place for trust between processes. Every hop is mutual TLS 1.2+; an identity names cluster, role and pod.
//
// A certificate's subject alternative names are
//   DNS:<role>.<cluster>.slmmesh        what the other side's hostname check compares (role and cluster at once)
//   URI:spiffe://<cluster>.slmmesh/<role>/<pod>
// Clients name the role they mean to reach; servers list the roles that may call them.
// Certificate files are re-read when they change, without a restart.
//
// The gRPC half of this header is the target common_grpc_tls, the rest is common_tls. All functions are thread-safe.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace grpc {
class ChannelCredentials;
class ServerCredentials;
class ServerContextBase;
class ServerBuilder;
class Channel;
}  // namespace grpc
typedef struct ssl_ctx_st SSL_CTX;
typedef struct evp_pkey_st EVP_PKEY;
typedef struct ssl_st SSL;

namespace slmmesh {

enum class Role { kHead, kRouter, kWorker, kOperator, kAdmin, kMonitor };
absl::string_view RoleName(Role role);  // "head", "router", …

// PEM files: this process's certificate chain and key, and the CA that every peer must be signed by.
struct TlsFiles {
  std::string cert;
  std::string key;
  std::string ca;
};
// The folder layout that `mesh up` and the operator write: tls.crt, tls.key, ca.crt.
TlsFiles TlsFilesIn(const std::string& folder);

struct Identity {
  std::string cluster;
  std::string role;
  std::string pod;
};
// The cluster of spiffe://monitoring.slmmesh/monitor/…: who reads the metrics of every cluster whose ca.crt, a bundle,
// holds its CA. No cluster may take this name.
inline constexpr char kMonitoringCluster[] = "monitoring";
// This process's own identity, read from its certificate.
absl::StatusOr<Identity> ReadIdentity(const TlsFiles& files);
// From spiffe://<cluster>.slmmesh/<role>/<pod>.
absl::StatusOr<Identity> ParseSpiffeUri(absl::string_view uri);
// PERMISSION_DENIED unless `identity` is of `cluster` and has one of `roles`.
absl::Status CheckIdentity(const Identity& identity, const std::string& cluster, std::initializer_list<Role> roles);
// <role>.<cluster>.slmmesh: what a client compares with the server's certificate.
std::string TlsHostName(Role role, const std::string& cluster);

// gRPC. Servers require a client certificate signed by the CA.
std::shared_ptr<grpc::ServerCredentials> MakeServerCredentials(const TlsFiles& files);
// Makes `builder` listen on `address` (host:port) with these credentials and with limits that fit MakeChannel's: its
// keepalive pings are allowed, messages may have 64 MiB, a port in use is an error. BuildAndStart() sets *port.
void AddListeningPort(grpc::ServerBuilder& builder, const TlsFiles& files, const std::string& address, int* port);
// A channel to a process of `role` in `cluster` at `host:port`; with keepalive (10 s, timeout 5 s), reconnect backoff
// of at most 1 s, and 64 MiB messages.
std::shared_ptr<grpc::Channel> MakeChannel(const TlsFiles& files, const std::string& cluster, Role role,
                                           const std::string& target);
// Who calls, by its certificate. UNAUTHENTICATED when it showed none, or one that does not say.
absl::StatusOr<Identity> PeerIdentity(const grpc::ServerContextBase& context);
// UNAUTHENTICATED or PERMISSION_DENIED unless the caller's certificate names one of `roles` in `cluster`.
absl::Status CheckPeer(const grpc::ServerContextBase& context, const std::string& cluster,
                       std::initializer_list<Role> roles);

// OpenSSL contexts for the HTTP server and the tensor exchange: call for each new connection. They are kept and given
// again until a file changes; if the new files cannot be used (half-written), the last good context goes on.
// The server's asks for no client certificate when `files.ca` is empty. With kOptional a client may show none
// (CheckPeer then says UNAUTHENTICATED); one that it shows must be good.
enum class ClientCertificate { kRequired, kOptional };
absl::StatusOr<std::shared_ptr<SSL_CTX>> MakeServerContext(const TlsFiles& files,
                                                           ClientCertificate wanted = ClientCertificate::kRequired);
absl::StatusOr<std::shared_ptr<SSL_CTX>> MakeClientContext(const TlsFiles& files);
// Before the client's handshake: it fails unless the server's certificate is for `role` in `cluster`.
void ExpectPeer(SSL* connection, const std::string& cluster, Role role);
// After a handshake, as CheckPeer of gRPC above.
absl::Status CheckPeer(const SSL* connection, const std::string& cluster, std::initializer_list<Role> roles);

// A throwaway certificate authority (ECDSA P-256), for `mesh up` and tests; the operator keeps one a cluster.
class CertificateAuthority {
 public:
  static absl::StatusOr<std::unique_ptr<CertificateAuthority>> Create(const std::string& cluster);
  static absl::StatusOr<std::unique_ptr<CertificateAuthority>> FromPem(const std::string& cluster,
                                                                       const std::string& cert_pem,
                                                                       const std::string& key_pem);
  // A new certificate for a key that is known: all certificates of one key vouch for the same leaves. Keeps a reference
  // to `key`.
  static absl::StatusOr<std::unique_ptr<CertificateAuthority>> FromKey(const std::string& cluster, EVP_PKEY* key);
  virtual ~CertificateAuthority() = default;
  virtual const std::string& cert_pem() const = 0;
  virtual std::string key_pem() const = 0;
  struct Issued {
    std::string cert_pem;
    std::string key_pem;
  };
  // `pod` also becomes a DNS name; loopback addresses are always among the alternative names.
  virtual absl::StatusOr<Issued> Issue(Role role, const std::string& pod, int64_t valid_seconds) = 0;
  // Issues and writes tls.crt, tls.key (0600) and ca.crt into `folder` (0700).
  absl::Status IssueInto(const std::string& folder, Role role, const std::string& pod, int64_t valid_seconds);
};

// True when both are equal; takes time that depends on their lengths only.
bool ConstantTimeEqual(absl::string_view a, absl::string_view b);

}  // namespace slmmesh
