#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/x509v3.h>

#include "absl/strings/escaping.h"
#include "common/files.h"
#include "common/temporary_folder.h"
#include "common/tls_openssl.h"
#include "operator/ca_bundle.h"
#include "operator/cluster_certificates.h"
#include "operator/own_certificates.h"
#include "operator/testing/fake_client.h"

namespace slmmesh {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::IsEmpty;

const absl::Time kNow = absl::Now();  // OpenSSL's checks have no other clock

MasterKey Master(char fill = 'k') { return *MasterKey::FromBytes(std::string(32, fill), kNow - absl::Hours(1000)); }

ObservedCluster Cluster(const std::string& name = "demo", const std::string& uid = "c1") {
  ObservedCluster cluster;
  cluster.ns = "team";
  cluster.name = name;
  cluster.uid = uid;
  return cluster;
}

// What a peer does: chain, purpose, and the name that it expects.
bool Trusts(const std::string& bundle, const std::string& leaf, const std::string& host) {
  const std::unique_ptr<X509_STORE, OpensslFree<X509_STORE_free>> store(X509_STORE_new());
  const BioPointer bio(BIO_new_mem_buf(bundle.data(), static_cast<int>(bundle.size())));
  while (const X509Pointer ca{PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)}) {
    X509_STORE_add_cert(store.get(), ca.get());
  }
  ERR_clear_error();
  const std::unique_ptr<X509_STORE_CTX, OpensslFree<X509_STORE_CTX_free>> context(X509_STORE_CTX_new());
  const X509Pointer certificate = CertificateFromPem(leaf);
  X509_STORE_CTX_init(context.get(), store.get(), certificate.get(), nullptr);
  X509_VERIFY_PARAM_set1_host(X509_STORE_CTX_get0_param(context.get()), host.c_str(), host.size());
  return X509_verify_cert(context.get()) == 1;
}

std::string PublicKey(const std::string& pem) {
  const X509Pointer certificate = CertificateFromPem(pem);
  unsigned char* bytes = nullptr;
  const int size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate.get()), &bytes);
  std::string text(reinterpret_cast<char*>(bytes), static_cast<size_t>(size));
  OPENSSL_free(bytes);
  return text;
}

TEST(MasterKeyTest, DerivesTheSameKeyForTheSamePurposeAndAnotherForAnother) {
  const auto key = [](char fill, const std::string& purpose) {
    return PublicKey((*Master(fill).DeriveAuthority(purpose, "demo.team"))->cert_pem());
  };
  EXPECT_EQ(key('k', "cluster c1"), key('k', "cluster c1"));
  EXPECT_NE(key('k', "cluster c1"), key('k', "cluster c2"));
  EXPECT_NE(key('k', "cluster c1"), key('j', "cluster c1"));
  EXPECT_FALSE(MasterKey::FromBytes("short", kNow).ok());
}

// Keys that were given out are derived again by every later version: this never changes. The digest is of an
// independent computation (HKDF of RFC 5869 and P-256 in a few lines of Python).
TEST(MasterKeyTest, TheDerivationIsFixed) {
  const std::string key = PublicKey((*Master().DeriveAuthority("cluster c1", "demo.team"))->cert_pem());
  EXPECT_EQ(Sha256Hex(absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(key.data()), key.size())),
            "56defffd056da1c6915e675cdba711b53247aa2ace04f2c56439798f90ff636d");
}

TEST(MasterKeyTest, IsMadeOnceAndRefusedWhenDamaged) {
  FakeClient client;
  const absl::StatusOr<MasterKey> made = MasterKey::LoadOrCreate(&client, "slm-system");
  ASSERT_TRUE(made.ok()) << made.status();
  const absl::StatusOr<MasterKey> loaded = MasterKey::LoadOrCreate(&client, "slm-system");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(PublicKey((*made->DeriveAuthority("p", "i"))->cert_pem()),
            PublicKey((*loaded->DeriveAuthority("p", "i"))->cert_pem()));
  EXPECT_THAT(client.TakeCalls(),
              ElementsAre("get secrets slm-mesh-ca", "create secrets slm-mesh-ca", "get secrets slm-mesh-ca"));
  (*client.Find("secrets", "slm-mesh-ca"))["data"]["master.key"] = "AAAA";
  EXPECT_EQ(MasterKey::LoadOrCreate(&client, "slm-system").status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(RoleOfPodNameTest, OnlyNamesThatTheOperatorGivesAreHeadsAndRouters) {
  EXPECT_EQ(RoleOfPodName(Cluster(), "demo-head-r1-0"), Role::kHead);
  EXPECT_EQ(RoleOfPodName(Cluster(), "demo-head-r12-0-b"), Role::kHead);
  EXPECT_EQ(RoleOfPodName(Cluster(), "demo-router-r1-3"), Role::kRouter);
  for (const char* worker : {"demo-cpu-r1-0", "demo-head-r1-r1-0", "demo-head-x-r1-0", "demo-headless-r1-0",
                             "demo-worker-head-r1-0", "demo-head-r-0", "demo-head-r1", "demo-head-r1-0-b-c", "x"}) {
    EXPECT_EQ(RoleOfPodName(Cluster(), worker), Role::kWorker) << worker;
  }
}

class ClusterCertificatesTest : public testing::Test {
 protected:
  ClusterCertificatesTest() : clock_(kNow) { Restart(); }

  void Restart(char master = 'k', absl::Duration age = absl::Hours(1000)) {
    const MasterKey key = *MasterKey::FromBytes(std::string(32, master), clock_.Now() - age);
    certificates_ = *ClusterCertificates::Create(&client_, key, absl::Hours(24), &clock_);
  }
  std::string Read(const std::string& field, const std::string& secret = "demo-tls") {
    std::string bytes;
    const json& data = (*client_.Find("secrets", secret))["data"];
    return data.contains(field) && absl::Base64Unescape(data[field].get<std::string>(), &bytes) ? bytes : "";
  }
  Observed Seen(const std::vector<std::string>& pods) {
    Observed observed;
    observed.cluster = Cluster();
    observed.cluster.status.set_certificates_not_after(
        absl::FormatTime(absl::RFC3339_sec, kNow + absl::Hours(24), absl::UTCTimeZone()));
    for (const std::string& name : pods) observed.pods.emplace_back().name = name;
    return observed;
  }

  FakeClient client_;
  FakeClock clock_;
  std::unique_ptr<ClusterCertificates> certificates_;
};

TEST_F(ClusterCertificatesTest, OneCallMakesAllOfACluster) {
  ASSERT_TRUE(certificates_->Issue(Cluster(), {"demo-head-r1-0", "demo-cpu-r1-0"}).ok());
  EXPECT_THAT(client_.TakeCalls(), ElementsAre("create secrets demo-tls"));
  const std::string ca = Read("ca.crt");
  EXPECT_TRUE(Trusts(ca, Read("demo-head-r1-0.crt"), "head.demo.team.slmmesh"));
  EXPECT_TRUE(Trusts(ca, Read("demo-cpu-r1-0.crt"), "worker.demo.team.slmmesh"));
  EXPECT_FALSE(Trusts(ca, Read("demo-cpu-r1-0.crt"), "head.demo.team.slmmesh"));
  EXPECT_EQ((*client_.Find("secrets", "demo-tls"))["metadata"]["ownerReferences"][0]["uid"], "c1");
  const absl::StatusOr<ClientPems> own = certificates_->IssueForOperator(Cluster());
  ASSERT_TRUE(own.ok());
  EXPECT_TRUE(Trusts(ca, own->cert, "operator.demo.team.slmmesh"));
  EXPECT_TRUE(Trusts(own->ca, Read("demo-head-r1-0.crt"), "head.demo.team.slmmesh"));
}

TEST_F(ClusterCertificatesTest, AnotherClusterIsRefused) {
  ASSERT_TRUE(certificates_->Issue(Cluster(), {"demo-head-r1-0"}).ok());
  ASSERT_TRUE(certificates_->Issue(Cluster("other", "c2"), {"other-head-r1-0"}).ok());
  EXPECT_FALSE(Trusts(Read("ca.crt"), Read("other-head-r1-0.crt", "other-tls"), "head.other.team.slmmesh"));
  // A cluster of the same name that came later has another uid, so another CA.
  ASSERT_TRUE(certificates_->Issue(Cluster("again", "c3"), {"again-head-r1-0"}).ok());
  EXPECT_FALSE(Trusts(Read("ca.crt", "again-tls"), Read("demo-head-r1-0.crt"), "head.demo.team.slmmesh"));
}

TEST_F(ClusterCertificatesTest, APodMoreAndOneLessIsOnePatchThatKeepsTheOthers) {
  ASSERT_TRUE(certificates_->Issue(Cluster(), {"a", "b"}).ok());
  const std::string kept = Read("a.crt");
  client_.TakeCalls();
  ASSERT_TRUE(certificates_->Issue(Cluster(), {"a", "c"}).ok());
  EXPECT_THAT(client_.TakeCalls(), ElementsAre("patch secrets demo-tls"));
  EXPECT_EQ(Read("a.crt"), kept);
  EXPECT_EQ(Read("b.crt"), "");
  EXPECT_EQ(Read("b.key"), "");
  EXPECT_NE(Read("c.key"), "");
  ASSERT_TRUE(certificates_->Issue(Cluster(), {"a", "c"}).ok());
  EXPECT_THAT(client_.TakeCalls(), IsEmpty());
}

TEST_F(ClusterCertificatesTest, RenewsAfterTwoThirds) {
  ASSERT_TRUE(certificates_->Issue(Cluster(), {"a"}).ok());
  const std::string first = Read("a.crt");
  clock_.Advance(absl::Hours(12));
  ASSERT_TRUE(certificates_->Issue(Cluster(), {"a"}).ok());
  EXPECT_EQ(Read("a.crt"), first);
  clock_.Advance(absl::Hours(4));
  ASSERT_TRUE(certificates_->Issue(Cluster(), {"a"}).ok());
  EXPECT_NE(Read("a.crt"), first);
  EXPECT_EQ(certificates_->Observe(Seen({})).not_after[0].second, clock_.Now() + absl::Hours(24));
}

TEST_F(ClusterCertificatesTest, ARestartAsksForNoSecretUntilSomethingIsToBeWritten) {
  ASSERT_TRUE(certificates_->Issue(Cluster(), {"a", "b"}).ok());
  client_.TakeCalls();
  Restart();
  const ObservedCertificates seen = certificates_->Observe(Seen({"a", "b"}));
  EXPECT_TRUE(seen.exists && seen.ca_is_current);
  EXPECT_EQ(seen.not_after.size(), 2u);
  EXPECT_THAT(client_.TakeCalls(), IsEmpty());
  const std::string kept = Read("a.crt");
  ASSERT_TRUE(certificates_->Issue(Seen({}).cluster, {"a", "b", "c"}).ok());
  EXPECT_THAT(client_.TakeCalls(), ElementsAre("get secrets demo-tls", "patch secrets demo-tls"));
  EXPECT_EQ(Read("a.crt"), kept);
}

TEST_F(ClusterCertificatesTest, AnotherMasterKeyIsNoticedAndTheOldCaStaysTrusted) {
  ASSERT_TRUE(certificates_->Issue(Cluster(), {"demo-head-r1-0"}).ok());
  const std::string old = Read("demo-head-r1-0.crt");
  Restart('n', absl::ZeroDuration());
  EXPECT_FALSE(certificates_->Observe(Seen({"demo-head-r1-0"})).ca_is_current);
  ASSERT_TRUE(certificates_->Issue(Seen({}).cluster, {"demo-head-r1-0"}).ok());
  EXPECT_TRUE(certificates_->Observe(Seen({"demo-head-r1-0"})).ca_is_current);
  EXPECT_TRUE(Trusts(Read("ca.crt"), Read("demo-head-r1-0.crt"), "head.demo.team.slmmesh"));
  EXPECT_TRUE(Trusts(Read("ca.crt"), old, "head.demo.team.slmmesh"));
}

TEST_F(ClusterCertificatesTest, ASecretOfAnotherOwnerIsLeftAlone) {
  client_.Put(kube::resources::kSecrets, {{"metadata", {{"name", "demo-tls"}}}, {"data", json::object()}});
  EXPECT_EQ(certificates_->Issue(Cluster(), {"a"}).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ((*client_.Find("secrets", "demo-tls"))["data"], json::object());
}

TEST_F(ClusterCertificatesTest, ADeletedSecretIsMadeAnew) {
  ASSERT_TRUE(certificates_->Issue(Cluster(), {"a"}).ok());
  ASSERT_TRUE(client_.Delete({kube::resources::kSecrets, "team", "demo-tls", ""}, {}).ok());
  EXPECT_FALSE(certificates_->Issue(Cluster(), {"a", "b"}).ok());
  EXPECT_TRUE(certificates_->Issue(Cluster(), {"a", "b"}).ok());
  EXPECT_NE(Read("b.crt"), "");
}

TEST_F(ClusterCertificatesTest, PrometheusIsTrustedByEveryClusterAndTrustsTheOperator) {
  ASSERT_TRUE(certificates_->Issue(Cluster(), {"a"}).ok());
  ASSERT_TRUE(RenewMonitorSecret(&client_, "slm-system", Master(), absl::Hours(24), kNow).ok());
  EXPECT_TRUE(Trusts(Read("ca.crt"), Read("tls.crt", kMonitorSecret), "monitor.monitoring.slmmesh"));
  const TemporaryFolder folder;
  ASSERT_TRUE(WriteOwnCertificate(Master(), folder.path(), "op-1", absl::Hours(24)).ok());
  EXPECT_TRUE(Trusts(Read("ca.crt", kMonitorSecret), *ReadFile(folder / "tls.crt"), "operator.monitoring.slmmesh"));
  EXPECT_TRUE(Trusts(*ReadFile(folder / "ca.crt"), Read("tls.crt", kMonitorSecret), "monitor.monitoring.slmmesh"));
  client_.TakeCalls();
  ASSERT_TRUE(RenewMonitorSecret(&client_, "slm-system", Master(), absl::Hours(24), kNow).ok());
  EXPECT_THAT(client_.TakeCalls(), ElementsAre("get secrets slm-mesh-monitor"));
  ASSERT_TRUE(RenewMonitorSecret(&client_, "slm-system", Master(), absl::Hours(24), kNow + absl::Hours(17)).ok());
  EXPECT_THAT(client_.TakeCalls(), ElementsAre("get secrets slm-mesh-monitor", "patch secrets slm-mesh-monitor"));
}

TEST(CaBundleTest, KeepsFewOldAuthoritiesAndNoEndedOnes) {
  const auto ca = [](char fill) { return (*Master(fill).DeriveAuthority("cluster c1", "demo.team"))->cert_pem(); };
  std::string old;
  for (char fill = 'a'; fill < 'j'; ++fill) old += ca(fill);
  const std::string first = ca('a');
  const std::string bundle = MakeBundle({first}, "no certificate\n" + old, kNow);
  size_t certificates = 0;
  for (size_t at = bundle.find("BEGIN CERT"); at != std::string::npos; at = bundle.find("BEGIN CERT", at + 1)) {
    ++certificates;
  }
  EXPECT_EQ(certificates, 1u + kMaxOldAuthorities);
  EXPECT_EQ(MakeBundle({first}, old, kNow + absl::Hours(24 * 365 * 11)), first);
  EXPECT_TRUE(BundleHolds(bundle, {first}, kNow));
  EXPECT_FALSE(BundleHolds(bundle, {ca('z')}, kNow));
  EXPECT_FALSE(BundleHolds("", {first}, kNow));
}

}  // namespace
}  // namespace slmmesh
