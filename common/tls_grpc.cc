// gRPC credentials whose certificates follow their files: gRPC's own watcher looks once a second.
#include <grpc/support/log.h>
#include <grpcpp/channel.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/auth_context.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <grpcpp/server_builder.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/channel_arguments.h>

#include <map>
#include <mutex>
#include <tuple>

#include "common/log.h"
#include "common/status.h"
#include "common/tls.h"

namespace slmmesh {
namespace {

constexpr unsigned kRefreshSeconds = 1;
constexpr int kMaxMessageBytes = 64 << 20;
constexpr int kKeepaliveMs = 10000;
constexpr int kKeepaliveTimeoutMs = 5000;
constexpr int kConnectTimeoutMs = 5000;
constexpr int kInitialBackoffMs = 100;
constexpr int kMaxBackoffMs = 1000;
// A head that moved has a new address under its name; by default gRPC would not ask for it again within 30 s.
constexpr int kMinResolutionIntervalMs = 1000;

// gRPC's own lines (refused handshakes, unreadable certificate files) in our format; it says error where a peer erred.
void RouteGrpcLog() {
  gpr_set_log_function([](gpr_log_func_args* line) {
    const LogLevel level = line->severity == GPR_LOG_SEVERITY_ERROR ? LogLevel::kWarning : LogLevel::kDebug;
    Log(level, "grpc.message", {{"text", line->message}});
  });
}

std::shared_ptr<grpc::experimental::CertificateProviderInterface> WatchFiles(const TlsFiles& files) {
  static const bool routed = (RouteGrpcLog(), true);
  static_cast<void>(routed);
  return std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(files.key, files.cert, files.ca,
                                                                              kRefreshSeconds);
}

// Kept for the life of the process: a watcher is a thread, and a router has a channel per group.
std::shared_ptr<grpc::ChannelCredentials> ClientCredentials(const TlsFiles& files) {
  static std::mutex mutex;
  static auto* kept =
      new std::map<std::tuple<std::string, std::string, std::string>, std::shared_ptr<grpc::ChannelCredentials>>;
  const std::lock_guard<std::mutex> lock(mutex);
  std::shared_ptr<grpc::ChannelCredentials>& credentials = (*kept)[std::tie(files.cert, files.key, files.ca)];
  if (credentials == nullptr) {
    grpc::experimental::TlsChannelCredentialsOptions options;
    options.set_certificate_provider(WatchFiles(files));
    options.watch_root_certs();
    options.watch_identity_key_cert_pairs();
    credentials = grpc::experimental::TlsCredentials(options);
  }
  return credentials;
}

}  // namespace

std::shared_ptr<grpc::ServerCredentials> MakeServerCredentials(const TlsFiles& files) {
  grpc::experimental::TlsServerCredentialsOptions options(WatchFiles(files));
  options.watch_root_certs();
  options.watch_identity_key_cert_pairs();
  options.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  return grpc::experimental::TlsServerCredentials(options);
}

void AddListeningPort(grpc::ServerBuilder& builder, const TlsFiles& files, const std::string& address, int* port) {
  builder.AddListeningPort(address, MakeServerCredentials(files), port);
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  builder.SetMaxSendMessageSize(kMaxMessageBytes);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, kKeepaliveMs / 2);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
}

std::shared_ptr<grpc::Channel> MakeChannel(const TlsFiles& files, const std::string& cluster, Role role,
                                           const std::string& target) {
  grpc::ChannelArguments arguments;
  arguments.SetSslTargetNameOverride(TlsHostName(role, cluster));
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  arguments.SetMaxSendMessageSize(kMaxMessageBytes);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kConnectTimeoutMs);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kInitialBackoffMs);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kMaxBackoffMs);
  arguments.SetInt(GRPC_ARG_DNS_MIN_TIME_BETWEEN_RESOLUTIONS_MS, kMinResolutionIntervalMs);
  return grpc::CreateCustomChannel(target, ClientCredentials(files), arguments);
}

absl::StatusOr<Identity> PeerIdentity(const grpc::ServerContextBase& context) {
  const std::shared_ptr<const grpc::AuthContext> peer = context.auth_context();
  if (peer == nullptr || !peer->IsPeerAuthenticated()) {
    return absl::UnauthenticatedError("the caller showed no certificate");
  }
  const std::vector<grpc::string_ref> uris = peer->FindPropertyValues("peer_spiffe_id");
  if (uris.size() != 1) return absl::UnauthenticatedError("the caller's certificate does not say who it is");
  return ParseSpiffeUri(absl::string_view(uris[0].data(), uris[0].size()));
}

absl::Status CheckPeer(const grpc::ServerContextBase& context, const std::string& cluster,
                       std::initializer_list<Role> roles) {
  ASSIGN_OR_RETURN(const Identity identity, PeerIdentity(context));
  return CheckIdentity(identity, cluster, roles);
}

}  // namespace slmmesh
