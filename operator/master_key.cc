#include "operator/master_key.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/kdf.h>
#include <openssl/obj_mac.h>
#include <openssl/param_build.h>
#include <openssl/rand.h>

#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "common/tls_openssl.h"
#include "operator/json_fields.h"
#include "operator/observed.h"
#include "operator/projection.h"

namespace slmmesh {
namespace {

using nlohmann::json;

constexpr size_t kKeyBytes = 32;
constexpr size_t kDerivedBytes = 48;  // 128 bits more than the scalar's: FIPS 186-5 A.2.1
constexpr char kDataField[] = "master.key";
constexpr char kSalt[] = "slm-mesh certificate authority v1";

using BignumPointer = std::unique_ptr<BIGNUM, OpensslFree<BN_clear_free>>;
using GroupPointer = std::unique_ptr<EC_GROUP, OpensslFree<EC_GROUP_free>>;
using PointPointer = std::unique_ptr<EC_POINT, OpensslFree<EC_POINT_free>>;

absl::Status Hkdf(const std::string& key, const std::string& info, unsigned char* out, size_t size) {
  const std::unique_ptr<EVP_KDF, OpensslFree<EVP_KDF_free>> kdf(EVP_KDF_fetch(nullptr, "HKDF", nullptr));
  const std::unique_ptr<EVP_KDF_CTX, OpensslFree<EVP_KDF_CTX_free>> context(EVP_KDF_CTX_new(kdf.get()));
  const auto bytes = [](const std::string& text) { return const_cast<char*>(text.data()); };
  std::string digest = "SHA256";
  std::string salt = kSalt;
  const OSSL_PARAM parameters[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest.data(), 0),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, bytes(key), key.size()),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, salt.data(), salt.size()),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, bytes(info), info.size()),
      OSSL_PARAM_construct_end(),
  };
  if (context == nullptr || EVP_KDF_derive(context.get(), out, size, parameters) != 1) {
    return OpensslError("cannot derive a key");
  }
  return absl::OkStatus();
}

// bytes mod (n - 1) + 1: every private key is as likely as another.
BignumPointer ScalarOf(const EC_GROUP* group, const unsigned char* bytes, size_t size) {
  const BignumPointer wide(BN_bin2bn(bytes, static_cast<int>(size), nullptr));
  const BignumPointer order(BN_dup(EC_GROUP_get0_order(group)));
  const std::unique_ptr<BN_CTX, OpensslFree<BN_CTX_free>> context(BN_CTX_secure_new());
  BignumPointer scalar(BN_secure_new());
  const bool done = wide != nullptr && order != nullptr && scalar != nullptr && BN_sub_word(order.get(), 1) == 1 &&
                    BN_nnmod(scalar.get(), wide.get(), order.get(), context.get()) == 1 &&
                    BN_add_word(scalar.get(), 1) == 1;
  return done ? std::move(scalar) : nullptr;
}

absl::StatusOr<PrivateKeyPointer> KeyOfScalar(const EC_GROUP* group, const BIGNUM* scalar) {
  const PointPointer point(EC_POINT_new(group));
  unsigned char encoded[65];
  if (point == nullptr || EC_POINT_mul(group, point.get(), scalar, nullptr, nullptr, nullptr) != 1 ||
      EC_POINT_point2oct(group, point.get(), POINT_CONVERSION_UNCOMPRESSED, encoded, sizeof encoded, nullptr) !=
          sizeof encoded) {
    return OpensslError("cannot compute a public key");
  }
  const std::unique_ptr<OSSL_PARAM_BLD, OpensslFree<OSSL_PARAM_BLD_free>> builder(OSSL_PARAM_BLD_new());
  OSSL_PARAM_BLD_push_utf8_string(builder.get(), OSSL_PKEY_PARAM_GROUP_NAME, "P-256", 0);
  OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_PRIV_KEY, scalar);
  OSSL_PARAM_BLD_push_octet_string(builder.get(), OSSL_PKEY_PARAM_PUB_KEY, encoded, sizeof encoded);
  const std::unique_ptr<OSSL_PARAM, OpensslFree<OSSL_PARAM_free>> parameters(OSSL_PARAM_BLD_to_param(builder.get()));
  const std::unique_ptr<EVP_PKEY_CTX, OpensslFree<EVP_PKEY_CTX_free>> context(
      EVP_PKEY_CTX_new_from_name(nullptr, "EC", nullptr));
  EVP_PKEY* key = nullptr;
  if (parameters == nullptr || context == nullptr || EVP_PKEY_fromdata_init(context.get()) != 1 ||
      EVP_PKEY_fromdata(context.get(), &key, EVP_PKEY_KEYPAIR, parameters.get()) != 1) {
    return OpensslError("cannot make a key pair");
  }
  return PrivateKeyPointer(key);
}

absl::StatusOr<MasterKey> FromSecret(const json& secret, const std::string& place) {
  std::string bytes;
  absl::Time created = absl::UnixEpoch();
  std::string ignored;
  absl::ParseTime(absl::RFC3339_full, TextOf(FieldOf(secret, "metadata"), "creationTimestamp"), &created, &ignored);
  if (!absl::Base64Unescape(TextOf(FieldOf(secret, "data"), kDataField), &bytes) || bytes.size() != kKeyBytes) {
    return absl::FailedPreconditionError(
        absl::StrCat("Secret ", place, ": data.", kDataField, " is not ", kKeyBytes,
                     " bytes; restore it from a backup, or delete the Secret: all certificates are then issued anew"));
  }
  return MasterKey::FromBytes(bytes, created);
}

}  // namespace

absl::StatusOr<MasterKey> MasterKey::FromBytes(absl::string_view bytes, absl::Time created) {
  if (bytes.size() == kKeyBytes) return MasterKey(std::string(bytes), created);
  return absl::InvalidArgumentError(absl::StrCat("a master key has ", kKeyBytes, " bytes, not ", bytes.size()));
}

absl::StatusOr<MasterKey> MasterKey::LoadOrCreate(kube::Client* client, const std::string& ns) {
  const kube::ObjectRef ref{kube::resources::kSecrets, ns, kMasterKeySecret, ""};
  const std::string place = absl::StrCat(ns, "/", kMasterKeySecret);
  absl::StatusOr<json> found = client->Get(ref);
  if (found.ok()) return FromSecret(*found, place);
  if (!absl::IsNotFound(found.status())) return found.status();
  unsigned char bytes[kKeyBytes];
  if (RAND_priv_bytes(bytes, sizeof bytes) != 1) return OpensslError("no randomness");
  const std::string text = absl::Base64Escape(absl::string_view(reinterpret_cast<const char*>(bytes), sizeof bytes));
  const json secret = {
      {"apiVersion", "v1"},
      {"kind", "Secret"},
      {"metadata", {{"name", kMasterKeySecret}, {"namespace", ns}, {"labels", {{kManagedByLabel, kManagedBy}}}}},
      {"type", "Opaque"},
      {"data", {{kDataField, text}}}};
  absl::StatusOr<json> made = client->Create(ref, secret);
  if (absl::IsAlreadyExists(made.status())) made = client->Get(ref);
  if (!made.ok()) return made.status();
  return FromSecret(*made, place);
}

absl::StatusOr<std::unique_ptr<CertificateAuthority>> MasterKey::DeriveAuthority(const std::string& purpose,
                                                                                 const std::string& identity) const {
  unsigned char bytes[kDerivedBytes];
  RETURN_IF_ERROR(Hkdf(bytes_, purpose, bytes, sizeof bytes));
  const GroupPointer group(EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1));
  const BignumPointer scalar = ScalarOf(group.get(), bytes, sizeof bytes);
  OPENSSL_cleanse(bytes, sizeof bytes);
  if (scalar == nullptr) return OpensslError("cannot derive a key");
  ASSIGN_OR_RETURN(const PrivateKeyPointer key, KeyOfScalar(group.get(), scalar.get()));
  return CertificateAuthority::FromKey(identity, key.get());
}

}  // namespace slmmesh
