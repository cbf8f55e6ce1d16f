#include "operator/ca_bundle.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/tls_openssl.h"

namespace slmmesh {
namespace {

constexpr absl::Duration kYear = absl::Hours(24 * 365);
constexpr size_t kMaxCertificates = 64;  // read of one bundle

struct Authority {
  X509Pointer certificate;
  absl::Time not_after;
};

absl::Time EndOf(const X509* certificate) {
  struct tm time;
  if (certificate == nullptr || ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &time) != 1) {
    return absl::InfinitePast();
  }
  return absl::FromTM(time, absl::UTCTimeZone());
}

std::vector<Authority> Read(const std::string& bundle) {
  std::vector<Authority> result;
  const BioPointer bio(BIO_new_mem_buf(bundle.data(), static_cast<int>(bundle.size())));
  while (result.size() < kMaxCertificates) {
    X509Pointer certificate(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
    if (certificate == nullptr) break;
    const absl::Time not_after = EndOf(certificate.get());
    result.push_back({std::move(certificate), not_after});
  }
  ERR_clear_error();  // the end of the text counts as one
  return result;
}

bool SameKey(const X509* a, const X509* b) { return EVP_PKEY_eq(X509_get0_pubkey(a), X509_get0_pubkey(b)) == 1; }

std::string PemOf(const X509* certificate) {
  const BioPointer bio(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509(bio.get(), const_cast<X509*>(certificate));
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return std::string(data, static_cast<size_t>(size));
}

}  // namespace

std::string MakeBundle(const std::vector<std::string>& first, const std::string& old_bundle, absl::Time now) {
  std::string bundle;
  std::vector<X509Pointer> taken;
  for (const std::string& pem : first) {
    absl::StrAppend(&bundle, pem);
    taken.push_back(CertificateFromPem(pem));
  }
  std::vector<Authority> old = Read(old_bundle);
  std::stable_sort(old.begin(), old.end(), [](const auto& a, const auto& b) { return a.not_after > b.not_after; });
  int kept = 0;
  for (const Authority& authority : old) {
    const bool is_taken = std::any_of(taken.begin(), taken.end(), [&authority](const X509Pointer& other) {
      return other != nullptr && SameKey(other.get(), authority.certificate.get());
    });
    if (is_taken || authority.not_after <= now || kept == kMaxOldAuthorities) continue;
    absl::StrAppend(&bundle, PemOf(authority.certificate.get()));
    ++kept;
  }
  return bundle;
}

bool BundleHolds(const std::string& bundle, const std::vector<std::string>& certificates, absl::Time now) {
  const std::vector<Authority> held = Read(bundle);
  return std::all_of(certificates.begin(), certificates.end(), [&](const std::string& pem) {
    const X509Pointer wanted = CertificateFromPem(pem);
    return std::any_of(held.begin(), held.end(), [&](const Authority& authority) {
      return SameKey(authority.certificate.get(), wanted.get()) && authority.not_after > now + kYear;
    });
  });
}

absl::Time NotAfter(const std::string& pem) { return EndOf(CertificateFromPem(pem).get()); }

}  // namespace slmmesh
