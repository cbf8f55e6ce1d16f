#include "common/tls.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/ssl.h>
#include <sys/stat.h>

#include "common/files.h"
#include "common/temporary_folder.h"
#include "common/tls_openssl.h"

namespace slmmesh {
namespace {

using testing::HasSubstr;

constexpr int64_t kHour = 3600;

std::unique_ptr<CertificateAuthority> NewAuthority(const std::string& cluster = "c1") {
  return CertificateAuthority::Create(cluster).value();
}

struct Handshake {
  bool client_done = false;
  bool server_done = false;
  absl::Status server_check;  // of the client's identity
  std::string serial_seen;    // of the server's certificate
  int version = 0;
};

// A handshake over memory: no sockets, no threads.
Handshake Shake(SSL_CTX* server_context, SSL_CTX* client_context, Role expected, std::initializer_list<Role> allowed) {
  const std::unique_ptr<SSL, OpensslFree<SSL_free>> server(SSL_new(server_context));
  const std::unique_ptr<SSL, OpensslFree<SSL_free>> client(SSL_new(client_context));
  BIO* server_end = nullptr;
  BIO* client_end = nullptr;
  BIO_new_bio_pair(&server_end, 0, &client_end, 0);
  SSL_set_bio(server.get(), server_end, server_end);
  SSL_set_bio(client.get(), client_end, client_end);
  SSL_set_accept_state(server.get());
  SSL_set_connect_state(client.get());
  ExpectPeer(client.get(), "c1", expected);
  Handshake result;
  for (int i = 0; i < 20; ++i) {  // a handshake takes a handful of flights
    result.client_done = SSL_do_handshake(client.get()) == 1;
    result.server_done = SSL_do_handshake(server.get()) == 1;
  }
  ERR_clear_error();
  result.server_check = CheckPeer(server.get(), "c1", allowed);
  result.version = SSL_version(client.get());
  if (const X509Pointer certificate{SSL_get1_peer_certificate(client.get())}; certificate != nullptr) {
    const std::unique_ptr<BIGNUM, OpensslFree<BN_free>> number(
        ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate.get()), nullptr));
    char* hex = BN_bn2hex(number.get());
    result.serial_seen = hex;
    OPENSSL_free(hex);
  }
  return result;
}

class TlsTest : public testing::Test {
 protected:
  TlsFiles Issue(CertificateAuthority& authority, Role role, const std::string& pod, int64_t valid_seconds = kHour) {
    const std::string path = folder_ / pod;
    EXPECT_EQ(authority.IssueInto(path, role, pod, valid_seconds), absl::OkStatus());
    return TlsFilesIn(path);
  }

  Handshake Shake(const TlsFiles& server, const TlsFiles& client, Role expected = Role::kHead) {
    return slmmesh::Shake(MakeServerContext(server).value().get(), MakeClientContext(client).value().get(), expected,
                          {Role::kWorker, Role::kAdmin});
  }

  TemporaryFolder folder_;
};

TEST_F(TlsTest, IssuedIdentityIsReadBack) {
  const TlsFiles files = Issue(*NewAuthority(), Role::kWorker, "w-0.group");
  const absl::StatusOr<Identity> identity = ReadIdentity(files);
  ASSERT_TRUE(identity.ok()) << identity.status();
  EXPECT_EQ(identity->cluster, "c1");
  EXPECT_EQ(identity->role, "worker");
  EXPECT_EQ(identity->pod, "w-0.group");
  struct stat info;
  ASSERT_EQ(stat(files.key.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  ASSERT_EQ(stat((folder_ / "w-0.group").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
}

TEST_F(TlsTest, NamesThatWouldChangeTheCertificateAreRefused) {
  auto authority = NewAuthority();
  for (const char* pod : {"", "a,DNS:head.c1.slmmesh", "A", "a b", "a/b", "-a", ".a"}) {
    EXPECT_EQ(authority->Issue(Role::kWorker, pod, kHour).status().code(), absl::StatusCode::kInvalidArgument) << pod;
  }
  EXPECT_FALSE(CertificateAuthority::Create("c1/other").ok());
}

TEST_F(TlsTest, SpiffeUris) {
  EXPECT_TRUE(ParseSpiffeUri("spiffe://c1.slmmesh/worker/w-0").ok());
  for (const char* uri : {"", "spiffe://c1/worker/w-0", "spiffe://.slmmesh/worker/w-0", "spiffe://c1.slmmesh/worker",
                          "spiffe://c1.slmmesh/worker/", "spiffe://c1.slmmesh/worker/a/b", "http://c1.slmmesh/a/b"}) {
    EXPECT_EQ(ParseSpiffeUri(uri).status().code(), absl::StatusCode::kUnauthenticated) << uri;
  }
}

TEST_F(TlsTest, MutualHandshake) {
  auto authority = NewAuthority();
  const Handshake shake = Shake(Issue(*authority, Role::kHead, "h"), Issue(*authority, Role::kWorker, "w"));
  EXPECT_TRUE(shake.client_done && shake.server_done);
  EXPECT_EQ(shake.server_check, absl::OkStatus());
  EXPECT_EQ(shake.version, TLS1_3_VERSION);
}

TEST_F(TlsTest, RestoredAuthorityIssuesForTheSameTrust) {
  auto authority = NewAuthority();
  auto restored = CertificateAuthority::FromPem("c1", authority->cert_pem(), authority->key_pem());
  ASSERT_TRUE(restored.ok()) << restored.status();
  EXPECT_TRUE(Shake(Issue(*authority, Role::kHead, "h"), Issue(**restored, Role::kWorker, "w")).server_done);
  EXPECT_FALSE(CertificateAuthority::FromPem("c1", authority->cert_pem(), NewAuthority()->key_pem()).ok());
}

TEST_F(TlsTest, ClientRefusesAServerOfAnotherRole) {
  auto authority = NewAuthority();
  EXPECT_FALSE(Shake(Issue(*authority, Role::kWorker, "h"), Issue(*authority, Role::kWorker, "w")).client_done);
}

TEST_F(TlsTest, ServerRefusesAClientOfAnotherRole) {
  auto authority = NewAuthority();
  const Handshake shake = Shake(Issue(*authority, Role::kHead, "h"), Issue(*authority, Role::kMonitor, "m"));
  EXPECT_EQ(shake.server_check.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_THAT(std::string(shake.server_check.message()), HasSubstr("'monitor'"));
}

TEST_F(TlsTest, AnotherClustersAuthorityIsNotTrusted) {
  const Handshake shake = Shake(Issue(*NewAuthority(), Role::kHead, "h"), Issue(*NewAuthority(), Role::kWorker, "w"));
  EXPECT_FALSE(shake.client_done || shake.server_done);
}

TEST_F(TlsTest, AnotherClustersNameIsRefusedThoughSignedByTheSameKey) {
  auto authority = NewAuthority();
  auto other = CertificateAuthority::FromPem("c2", authority->cert_pem(), authority->key_pem()).value();
  const TlsFiles head = Issue(*authority, Role::kHead, "h");
  const Handshake shake = Shake(head, Issue(*other, Role::kWorker, "w2"));
  EXPECT_EQ(shake.server_check.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_FALSE(Shake(Issue(*other, Role::kHead, "h2"), Issue(*authority, Role::kWorker, "w")).client_done);
}

TEST_F(TlsTest, ServerRefusesAnExpiredCertificate) {
  auto authority = NewAuthority();
  EXPECT_FALSE(Shake(Issue(*authority, Role::kHead, "h"), Issue(*authority, Role::kWorker, "w", /*valid_seconds=*/-60))
                   .server_done);
}

TEST_F(TlsTest, ServerRefusesAClientWithoutACertificate) {
  auto authority = NewAuthority();
  const TlsFiles head = Issue(*authority, Role::kHead, "h");
  const std::unique_ptr<SSL_CTX, OpensslFree<SSL_CTX_free>> bare(SSL_CTX_new(TLS_client_method()));
  const Handshake shake = slmmesh::Shake(MakeServerContext(head).value().get(), bare.get(), Role::kHead, {});
  EXPECT_FALSE(shake.server_done);
  EXPECT_EQ(shake.server_check.code(), absl::StatusCode::kUnauthenticated);
}

TEST_F(TlsTest, RenewedCertificateIsPickedUp) {
  auto authority = NewAuthority();
  const TlsFiles worker = Issue(*authority, Role::kWorker, "w");
  const TlsFiles head = Issue(*authority, Role::kHead, "h");
  const std::string first = Shake(head, worker).serial_seen;
  EXPECT_EQ(MakeServerContext(head).value(), MakeServerContext(head).value());  // kept while nothing changes
  Issue(*authority, Role::kHead, "h");
  const Handshake second = Shake(head, worker);
  EXPECT_TRUE(second.client_done);
  EXPECT_NE(second.serial_seen, first);
}

TEST_F(TlsTest, HalfWrittenFilesKeepTheLastContext) {
  auto authority = NewAuthority();
  const TlsFiles head = Issue(*authority, Role::kHead, "h");
  const auto good = MakeServerContext(head).value();
  ASSERT_EQ(WriteFileAtomic(head.key, "not a key"), absl::OkStatus());
  EXPECT_EQ(MakeServerContext(head).value(), good);
  Issue(*authority, Role::kHead, "h");
  EXPECT_NE(MakeServerContext(head).value(), good);
}

TEST_F(TlsTest, ErrorsNameTheFile) {
  const absl::Status status = MakeServerContext(TlsFilesIn(folder_ / "nowhere")).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("nowhere/tls.crt"));
  EXPECT_THAT(std::string(ReadIdentity(TlsFilesIn(folder_ / "nowhere")).status().message()),
              HasSubstr("nowhere/tls.crt"));
}

TEST(ConstantTimeEqualTest, Compares) {
  EXPECT_TRUE(ConstantTimeEqual("", ""));
  EXPECT_TRUE(ConstantTimeEqual("key", "key"));
  EXPECT_FALSE(ConstantTimeEqual("key", "kez"));
  EXPECT_FALSE(ConstantTimeEqual("key", "keys"));
}

}  // namespace
}  // namespace slmmesh
