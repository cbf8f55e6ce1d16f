#include "operator/kube/credentials.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/stat.h>

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/files.h"
#include "common/log.h"
#include "common/status.h"
#include "common/tls_openssl.h"

namespace slmmesh::kube {
namespace {

constexpr size_t kMaxFileBytes = size_t{1} << 20;

FileState StateOf(const std::string& path) {
  struct stat info;
  if (path.empty() || stat(path.c_str(), &info) != 0) return {};
  return {info.st_ino, info.st_size, info.st_mtim.tv_sec * int64_t{1000000000} + info.st_mtim.tv_nsec};
}

absl::Status TlsError(absl::string_view what) {
  return absl::InvalidArgumentError(OpensslError(std::string(what)).message());
}

// `pem`, or what the file holds; empty when neither is given.
absl::StatusOr<std::string> PemOrFile(const std::string& pem, const std::string& file) {
  if (!pem.empty() || file.empty()) return pem;
  return ReadFile(file, kMaxFileBytes);
}

BioPointer BioOf(const std::string& text) {
  return BioPointer(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

absl::Status TrustCas(SSL_CTX* context, const std::string& pem) {
  X509_STORE* store = SSL_CTX_get_cert_store(context);
  const BioPointer bio = BioOf(pem);
  int count = 0;
  while (const X509Pointer ca{PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)}) {
    if (X509_STORE_add_cert(store, ca.get()) != 1) return TlsError("cannot use this CA certificate");
    ++count;
  }
  ERR_clear_error();  // the end of the text
  if (count == 0) return absl::InvalidArgumentError("the CA holds no certificate in PEM");
  X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);  // an intermediate may be given as the root
  return absl::OkStatus();
}

// Without it OpenSSL would ask the terminal for the password of an encrypted key.
int NoPassword(char* /*buffer*/, int /*size*/, int /*writing*/, void* /*data*/) { return -1; }

absl::Status UseClientCertificate(SSL_CTX* context, const std::string& cert_pem, const std::string& key_pem) {
  const BioPointer certs = BioOf(cert_pem);
  const X509Pointer own(PEM_read_bio_X509(certs.get(), nullptr, nullptr, nullptr));
  if (own == nullptr || SSL_CTX_use_certificate(context, own.get()) != 1) {
    return TlsError("cannot use the client certificate");
  }
  while (X509Pointer link{PEM_read_bio_X509(certs.get(), nullptr, nullptr, nullptr)}) {
    if (SSL_CTX_add0_chain_cert(context, link.get()) != 1) return TlsError("cannot use the client certificate's chain");
    (void)link.release();  // now the context's
  }
  ERR_clear_error();  // the end of the text
  const PrivateKeyPointer key(PEM_read_bio_PrivateKey(BioOf(key_pem).get(), nullptr, NoPassword, nullptr));
  if (key == nullptr) return TlsError("cannot use the client key (encrypted keys are not supported)");
  if (SSL_CTX_use_PrivateKey(context, key.get()) != 1) return TlsError("the client key is not the certificate's");
  return absl::OkStatus();
}

}  // namespace

Credentials::TlsState Credentials::StateOfTlsFiles() const {
  return {StateOf(config_.ca_file), StateOf(config_.cert_file), StateOf(config_.key_file)};
}

absl::StatusOr<std::shared_ptr<SSL_CTX>> Credentials::BuildContext() const {
  std::shared_ptr<SSL_CTX> context(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
  if (context == nullptr) return TlsError("cannot create a TLS context");
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_options(context.get(), SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_set_mode(context.get(), SSL_MODE_RELEASE_BUFFERS);  // idle connections hold no 34 KB of buffers
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);

  ASSIGN_OR_RETURN(const std::string ca, PemOrFile(config_.ca_pem, config_.ca_file));
  if (!ca.empty()) {
    RETURN_IF_ERROR(Annotate(TrustCas(context.get(), ca), config_.ca_file.empty() ? "CA" : config_.ca_file));
  } else if (SSL_CTX_set_default_verify_paths(context.get()) != 1) {
    return TlsError("no CA is given and the system has none");
  }
  ASSIGN_OR_RETURN(const std::string cert, PemOrFile(config_.cert_pem, config_.cert_file));
  ASSIGN_OR_RETURN(const std::string key, PemOrFile(config_.key_pem, config_.key_file));
  if (!cert.empty() || !key.empty()) RETURN_IF_ERROR(UseClientCertificate(context.get(), cert, key));
  return context;
}

absl::StatusOr<std::string> Credentials::ReadToken() const {
  if (config_.token_file.empty()) return config_.token;
  ASSIGN_OR_RETURN(const std::string text, ReadFile(config_.token_file, kMaxFileBytes));
  std::string token(absl::StripAsciiWhitespace(text));
  for (const char c : token) {
    if (!absl::ascii_isgraph(static_cast<unsigned char>(c))) {
      return absl::InvalidArgumentError(
          absl::StrCat(config_.token_file, ": a token is one line of visible characters"));
    }
  }
  if (token.empty()) return absl::InvalidArgumentError(absl::StrCat(config_.token_file, ": the token file is empty"));
  return token;
}

absl::StatusOr<std::unique_ptr<Credentials>> Credentials::Create(const Config& config) {
  std::unique_ptr<Credentials> credentials(new Credentials(config));
  const absl::MutexLock lock(&credentials->mutex_);
  credentials->tls_state_ = credentials->StateOfTlsFiles();  // before reading: a change meanwhile is seen next time
  credentials->token_state_ = StateOf(config.token_file);
  ASSIGN_OR_RETURN(credentials->tls_.context, credentials->BuildContext());
  ASSIGN_OR_RETURN(credentials->token_, credentials->ReadToken());
  return credentials;
}

Credentials::Tls Credentials::CurrentTls() {
  const absl::MutexLock lock(&mutex_);
  if (const TlsState state = StateOfTlsFiles(); state != tls_state_) {
    tls_state_ = state;
    if (absl::StatusOr<std::shared_ptr<SSL_CTX>> built = BuildContext(); built.ok()) {
      tls_.context = *std::move(built);
      ++tls_.generation;
    } else {
      LogWarning("kube.tls_reload_failed", {{"reason", built.status()}});
    }
  }
  return tls_;
}

std::string Credentials::CurrentToken() {
  const absl::MutexLock lock(&mutex_);
  if (const FileState state = StateOf(config_.token_file); state != token_state_) {
    token_state_ = state;
    if (absl::StatusOr<std::string> token = ReadToken(); token.ok()) {
      token_ = *std::move(token);
    } else {
      LogWarning("kube.token_reload_failed", {{"reason", token.status()}});
    }
  }
  return token_;
}

}  // namespace slmmesh::kube
