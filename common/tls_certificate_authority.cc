#include <openssl/ec.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/files.h"
#include "common/status.h"
#include "common/tls.h"
#include "common/tls_openssl.h"

namespace slmmesh {
namespace {

constexpr int64_t kAuthorityValidSeconds = int64_t{10} * 365 * 24 * 3600;
constexpr int64_t kClockSkewSeconds = 3600;
constexpr size_t kMaxClusterName = 127;  // <name>.<namespace>

// Names go into certificates as text with separators: only these characters may stand in them.
absl::Status CheckName(absl::string_view field, const std::string& name, size_t max_size, bool dots) {
  const bool good = !name.empty() && name.size() <= max_size && name.front() != '-' && name.front() != '.' &&
                    std::all_of(name.begin(), name.end(), [dots](char c) {
                      return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || (dots && c == '.');
                    });
  if (good) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(field, " name '", name, "': use 1 to ", max_size,
                                                 " of the characters a-z, 0-9 and -", dots ? " and ." : ""));
}

absl::StatusOr<std::string> CertificateToPem(const X509* certificate) {
  const BioPointer bio(BIO_new(BIO_s_mem()));
  if (PEM_write_bio_X509(bio.get(), const_cast<X509*>(certificate)) != 1) return OpensslError("cannot write PEM");
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return std::string(data, static_cast<size_t>(size));
}

absl::StatusOr<std::string> KeyToPem(EVP_PKEY* key) {
  const BioPointer bio(BIO_new(BIO_s_secmem()));
  if (PEM_write_bio_PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr) != 1) {
    return OpensslError("cannot write a key as PEM");
  }
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return std::string(data, static_cast<size_t>(size));
}

// Null: it is none.
PrivateKeyPointer KeyFromPem(const std::string& pem) {
  const BioPointer bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  PrivateKeyPointer key(PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, nullptr));
  if (key == nullptr) ERR_clear_error();
  return key;
}

PrivateKeyPointer NewKey() { return PrivateKeyPointer(EVP_EC_gen("P-256")); }

absl::Status AddExtension(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const std::unique_ptr<X509_EXTENSION, OpensslFree<X509_EXTENSION_free>> extension(
      X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
  if (extension == nullptr || X509_add_ext(certificate, extension.get(), -1) != 1) {
    return OpensslError(absl::StrCat("cannot add the certificate extension ", OBJ_nid2sn(nid)));
  }
  return absl::OkStatus();
}

// An unsigned certificate: random serial, subject, key, validity from an hour ago (clocks differ).
absl::StatusOr<X509Pointer> NewCertificate(EVP_PKEY* key, const std::string& common_name, int64_t valid_seconds) {
  X509Pointer certificate(X509_new());
  unsigned char serial[16];
  if (certificate == nullptr || RAND_bytes(serial, sizeof serial) != 1) return OpensslError("no randomness");
  serial[0] = static_cast<unsigned char>((serial[0] & 0x7f) | 0x40);  // positive, of full length
  const std::unique_ptr<BIGNUM, OpensslFree<BN_free>> number(BN_bin2bn(serial, sizeof serial, nullptr));
  X509_NAME* name = X509_get_subject_name(certificate.get());
  const bool done =
      number != nullptr && BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate.get())) != nullptr &&
      X509_set_version(certificate.get(), X509_VERSION_3) == 1 &&
      X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -kClockSkewSeconds) != nullptr &&
      X509_gmtime_adj(X509_getm_notAfter(certificate.get()), valid_seconds) != nullptr &&
      X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                                 reinterpret_cast<const unsigned char*>(common_name.substr(0, 64).c_str()), -1, -1,
                                 0) == 1 &&
      X509_set_pubkey(certificate.get(), key) == 1;
  if (!done) return OpensslError("cannot make a certificate");
  return certificate;
}

class OpensslAuthority : public CertificateAuthority {
 public:
  OpensslAuthority(std::string cluster, X509Pointer certificate, PrivateKeyPointer key, std::string cert_pem,
                   std::string key_pem)
      : cluster_(std::move(cluster)),
        certificate_(std::move(certificate)),
        key_(std::move(key)),
        cert_pem_(std::move(cert_pem)),
        key_pem_(std::move(key_pem)) {}

  const std::string& cert_pem() const override { return cert_pem_; }
  std::string key_pem() const override { return key_pem_; }

  absl::StatusOr<Issued> Issue(Role role, const std::string& pod, int64_t valid_seconds) override {
    RETURN_IF_ERROR(CheckName("pod", pod, 253, /*dots=*/true));
    const PrivateKeyPointer key = NewKey();
    if (key == nullptr) return OpensslError("cannot make a key");
    ASSIGN_OR_RETURN(const X509Pointer certificate, NewCertificate(key.get(), pod, valid_seconds));
    RETURN_IF_ERROR(AddLeafExtensions(certificate.get(), role, pod));
    X509_set_issuer_name(certificate.get(), X509_get_subject_name(certificate_.get()));
    if (X509_sign(certificate.get(), key_.get(), EVP_sha256()) == 0) return OpensslError("cannot sign a certificate");
    Issued issued;
    ASSIGN_OR_RETURN(issued.cert_pem, CertificateToPem(certificate.get()));
    ASSIGN_OR_RETURN(issued.key_pem, KeyToPem(key.get()));
    return issued;
  }

 private:
  absl::Status AddLeafExtensions(X509* certificate, Role role, const std::string& pod) {
    const std::string names =
        absl::StrCat("DNS:", TlsHostName(role, cluster_), ",URI:spiffe://", cluster_, ".slmmesh/",
                     std::string(RoleName(role)), "/", pod, ",DNS:", pod, ",DNS:localhost,IP:127.0.0.1,IP:::1");
    RETURN_IF_ERROR(AddExtension(certificate, certificate_.get(), NID_basic_constraints, "critical,CA:FALSE"));
    RETURN_IF_ERROR(AddExtension(certificate, certificate_.get(), NID_key_usage, "critical,digitalSignature"));
    RETURN_IF_ERROR(AddExtension(certificate, certificate_.get(), NID_ext_key_usage, "serverAuth,clientAuth"));
    RETURN_IF_ERROR(AddExtension(certificate, certificate_.get(), NID_authority_key_identifier, "keyid:always"));
    return AddExtension(certificate, certificate_.get(), NID_subject_alt_name, names);
  }

  const std::string cluster_;
  const X509Pointer certificate_;
  const PrivateKeyPointer key_;
  const std::string cert_pem_;
  const std::string key_pem_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<CertificateAuthority>> CertificateAuthority::Create(const std::string& cluster) {
  const PrivateKeyPointer key = NewKey();
  if (key == nullptr) return OpensslError("cannot make a key");
  return FromKey(cluster, key.get());
}

absl::StatusOr<std::unique_ptr<CertificateAuthority>> CertificateAuthority::FromKey(const std::string& cluster,
                                                                                    EVP_PKEY* key) {
  RETURN_IF_ERROR(CheckName("cluster", cluster, kMaxClusterName, /*dots=*/true));
  ASSIGN_OR_RETURN(X509Pointer certificate,
                   NewCertificate(key, absl::StrCat("slm-mesh CA of ", cluster), kAuthorityValidSeconds));
  RETURN_IF_ERROR(
      AddExtension(certificate.get(), certificate.get(), NID_basic_constraints, "critical,CA:TRUE,pathlen:0"));
  RETURN_IF_ERROR(AddExtension(certificate.get(), certificate.get(), NID_key_usage, "critical,keyCertSign,cRLSign"));
  RETURN_IF_ERROR(AddExtension(certificate.get(), certificate.get(), NID_subject_key_identifier, "hash"));
  X509_set_issuer_name(certificate.get(), X509_get_subject_name(certificate.get()));
  if (X509_sign(certificate.get(), key, EVP_sha256()) == 0) return OpensslError("cannot sign the CA");
  ASSIGN_OR_RETURN(std::string cert_pem, CertificateToPem(certificate.get()));
  ASSIGN_OR_RETURN(std::string key_pem, KeyToPem(key));
  EVP_PKEY_up_ref(key);
  return std::make_unique<OpensslAuthority>(cluster, std::move(certificate), PrivateKeyPointer(key),
                                            std::move(cert_pem), std::move(key_pem));
}

absl::StatusOr<std::unique_ptr<CertificateAuthority>> CertificateAuthority::FromPem(const std::string& cluster,
                                                                                    const std::string& cert_pem,
                                                                                    const std::string& key_pem) {
  RETURN_IF_ERROR(CheckName("cluster", cluster, kMaxClusterName, /*dots=*/true));
  X509Pointer certificate = CertificateFromPem(cert_pem);
  if (certificate == nullptr) return absl::InvalidArgumentError("CA certificate: not a PEM certificate");
  PrivateKeyPointer key = KeyFromPem(key_pem);
  if (key == nullptr || X509_check_private_key(certificate.get(), key.get()) != 1) {
    ERR_clear_error();
    return absl::InvalidArgumentError("CA key: not the PEM key of the CA certificate");
  }
  return std::make_unique<OpensslAuthority>(cluster, std::move(certificate), std::move(key), cert_pem, key_pem);
}

absl::Status CertificateAuthority::IssueInto(const std::string& folder, Role role, const std::string& pod,
                                             int64_t valid_seconds) {
  ASSIGN_OR_RETURN(const Issued issued, Issue(role, pod, valid_seconds));
  if (mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) {
    return absl::UnavailableError(absl::StrCat(folder, ": cannot create this folder: ", strerror(errno)));
  }
  if (chmod(folder.c_str(), 0700) != 0) {
    return absl::UnavailableError(absl::StrCat(folder, ": cannot set its mode: ", strerror(errno)));
  }
  const TlsFiles files = TlsFilesIn(folder);
  RETURN_IF_ERROR(WriteFileAtomic(files.ca, cert_pem(), 0644));
  RETURN_IF_ERROR(WriteFileAtomic(files.key, issued.key_pem, 0600));
  return WriteFileAtomic(files.cert, issued.cert_pem, 0644);
}

}  // namespace slmmesh
