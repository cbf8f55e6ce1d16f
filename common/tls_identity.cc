// Names: roles, identities, and the comparison of secrets.
#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/files.h"
#include "common/status.h"
#include "common/tls.h"
#include "common/tls_openssl.h"

namespace slmmesh {

absl::string_view RoleName(Role role) {
  switch (role) {
    case Role::kHead:
      return "head";
    case Role::kRouter:
      return "router";
    case Role::kWorker:
      return "worker";
    case Role::kOperator:
      return "operator";
    case Role::kAdmin:
      return "admin";
    case Role::kMonitor:
      return "monitor";
  }
  return "unknown";
}

TlsFiles TlsFilesIn(const std::string& folder) {
  return {folder + "/tls.crt", folder + "/tls.key", folder + "/ca.crt"};
}

std::string TlsHostName(Role role, const std::string& cluster) {
  return absl::StrCat(RoleName(role), ".", cluster, ".slmmesh");
}

absl::StatusOr<Identity> ParseSpiffeUri(absl::string_view uri) {
  absl::string_view rest = uri;
  std::vector<std::string> parts;
  if (absl::ConsumePrefix(&rest, "spiffe://")) parts = absl::StrSplit(rest, '/');
  if (parts.size() != 3 || parts[1].empty() || parts[2].empty() || parts[0] == ".slmmesh" ||
      !absl::EndsWith(parts[0], ".slmmesh")) {
    return absl::UnauthenticatedError(
        absl::StrCat("the certificate's URI is not spiffe://<cluster>.slmmesh/<role>/<pod>: '", uri, "'"));
  }
  return Identity{std::string(absl::StripSuffix(parts[0], ".slmmesh")), parts[1], parts[2]};
}

absl::Status CheckIdentity(const Identity& identity, const std::string& cluster, std::initializer_list<Role> roles) {
  if (identity.cluster != cluster) {
    return absl::PermissionDeniedError(
        absl::StrCat("the caller is of cluster '", identity.cluster, "', this is cluster '", cluster, "'"));
  }
  for (Role role : roles) {
    if (identity.role == RoleName(role)) return absl::OkStatus();
  }
  const std::string allowed = absl::StrJoin(
      roles, ", ", [](std::string* out, Role role) { absl::StrAppend(out, std::string(RoleName(role))); });
  return absl::PermissionDeniedError(
      absl::StrCat("the caller's role is '", identity.role, "', only these may call: ", allowed));
}

absl::StatusOr<Identity> IdentityOfCertificate(const X509* certificate) {
  const std::unique_ptr<GENERAL_NAMES, decltype(&GENERAL_NAMES_free)> names(
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)),
      GENERAL_NAMES_free);
  std::vector<std::string> uris;
  for (int i = 0; names != nullptr && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type != GEN_URI) continue;
    const ASN1_STRING* uri = name->d.uniformResourceIdentifier;
    uris.emplace_back(reinterpret_cast<const char*>(ASN1_STRING_get0_data(uri)),
                      static_cast<size_t>(ASN1_STRING_length(uri)));
  }
  if (uris.size() != 1) {
    return absl::UnauthenticatedError(
        absl::StrCat("the certificate has ", uris.size(), " URIs among its names, not one that says who it is"));
  }
  return ParseSpiffeUri(uris[0]);
}

absl::StatusOr<Identity> ReadIdentity(const TlsFiles& files) {
  ASSIGN_OR_RETURN(const std::string pem, ReadFile(files.cert, size_t{1} << 20));
  const X509Pointer certificate = CertificateFromPem(pem);
  if (certificate == nullptr) return absl::InvalidArgumentError(files.cert + ": no PEM certificate in it");
  absl::StatusOr<Identity> identity = IdentityOfCertificate(certificate.get());
  if (!identity.ok()) return Annotate(identity.status(), files.cert);
  return identity;
}

absl::Status CheckPeer(const SSL* connection, const std::string& cluster, std::initializer_list<Role> roles) {
  const X509Pointer certificate(SSL_get1_peer_certificate(connection));
  if (certificate == nullptr) return absl::UnauthenticatedError("the caller showed no certificate");
  ASSIGN_OR_RETURN(const Identity identity, IdentityOfCertificate(certificate.get()));
  return CheckIdentity(identity, cluster, roles);
}

bool ConstantTimeEqual(absl::string_view a, absl::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace slmmesh
