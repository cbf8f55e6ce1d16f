#include "operator/kube/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/temporary_folder.h"
#include "operator/kube/server_url.h"

namespace slmmesh::kube {
namespace {

using ::testing::HasSubstr;

constexpr char kPem[] = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

std::string Base64(const std::string& text) { return absl::Base64Escape(text); }

std::string Kubeconfig(const std::string& cluster, const std::string& user,
                       const std::string& context = "{cluster: c, user: u}") {
  return absl::StrCat(
      "apiVersion: v1\nkind: Config\ncurrent-context: here\ncontexts:\n- name: here\n  context: ", context,
      "\nclusters:\n- name: c\n  cluster: ", cluster, "\nusers:\n- name: u\n  user: ", user, "\n");
}

TEST(KubeconfigTest, ReadsCertificatesGivenAsBase64) {
  const TemporaryFolder folder;
  const std::string text = Kubeconfig(
      absl::StrCat("{server: 'https://h:6443', tls-server-name: kubernetes, certificate-authority-data: ", Base64(kPem),
                   "}"),
      absl::StrCat("{client-certificate-data: ", Base64(kPem), ", client-key-data: ", Base64(kPem), "}"),
      "{cluster: c, user: u, namespace: team}");
  const absl::StatusOr<Config> config = LoadKubeconfig(folder.Write("config", text));
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->server, "https://h:6443");
  EXPECT_EQ(config->tls_server_name, "kubernetes");
  EXPECT_EQ(config->ca_pem, kPem);
  EXPECT_EQ(config->cert_pem, kPem);
  EXPECT_EQ(config->key_pem, kPem);
  EXPECT_EQ(config->default_namespace, "team");
}

TEST(KubeconfigTest, FilesAreFoundBesideIt) {
  const TemporaryFolder folder;
  const std::string text = Kubeconfig("{server: 'https://h', certificate-authority: pki/ca.crt}",
                                      "{client-certificate: a.crt, client-key: /abs/a.key, tokenFile: token}");
  const absl::StatusOr<Config> config = LoadKubeconfig(folder.Write("config", text));
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->ca_file, folder / "pki/ca.crt");
  EXPECT_EQ(config->cert_file, folder / "a.crt");
  EXPECT_EQ(config->key_file, "/abs/a.key");
  EXPECT_EQ(config->token_file, folder / "token");
}

TEST(KubeconfigTest, AnotherContextCanBeNamed) {
  const TemporaryFolder folder;
  const std::string text =
      "current-context: a\n"
      "contexts: [{name: a, context: {cluster: a}}, {name: b, context: {cluster: b}}]\n"
      "clusters: [{name: a, cluster: {server: 'https://a'}}, {name: b, cluster: {server: 'https://b'}}]\n";
  const std::string path = folder.Write("config", text);
  EXPECT_EQ(LoadKubeconfig(path)->server, "https://a");
  EXPECT_EQ(LoadKubeconfig(path, "b")->server, "https://b");
  EXPECT_THAT(std::string(LoadKubeconfig(path, "z").status().message()), HasSubstr("contexts: none is called 'z'"));
}

TEST(KubeconfigTest, ErrorsNameFileAndField) {
  const std::string good_cluster = "{server: 'https://h'}";
  struct Case {
    std::string text, expected;
  };
  const Case cases[] = {
      {"", "this is no kubeconfig"},
      {"- a\n", "this is no kubeconfig"},
      {"a: [\n", "no valid YAML"},
      {"clusters: []\n", "current-context: is missing"},
      {"current-context: x\n", "contexts: a list is expected"},
      {"current-context: x\ncontexts: []\n", "contexts: none is called 'x'"},
      {"current-context: x\ncontexts: [{name: x}]\n", "contexts[name=x].context: is missing"},
      {Kubeconfig(good_cluster, "{}", "{cluster: other, user: u}"), "clusters: none is called 'other'"},
      {Kubeconfig(good_cluster, "{}", "{cluster: c, user: other}"), "users: none is called 'other'"},
      {Kubeconfig("{}", "{}"), "clusters[name=c].cluster.server: server is missing; write https://host:port"},
      {Kubeconfig("{server: 'http://h'}", "{}"), "plain HTTP"},
      {Kubeconfig("{server: h}", "{}"), "not an address"},
      {Kubeconfig("{server: 'https://h:99999'}", "{}"), "port"},
      {Kubeconfig("{server: ['https://h']}", "{}"), "server: a text is expected"},
      {Kubeconfig("{server: 'https://h', insecure-skip-tls-verify: true}", "{}"), "insecure-skip-tls-verify: refused"},
      {Kubeconfig("{server: 'https://h', insecure-skip-tls-verify: 7}", "{}"), "neither true nor false"},
      {Kubeconfig("{server: 'https://h', proxy-url: 'http://p'}", "{}"), "proxy-url: proxies are not supported"},
      {Kubeconfig("{server: 'https://h', certificate-authority-data: '%%'}", "{}"),
       "certificate-authority-data: not base64"},
      {Kubeconfig("{server: 'https://h', certificate-authority-data: AAAA}", "{}"), "holds no PEM"},
      {Kubeconfig(good_cluster, "{exec: {command: aws}}"), "users[name=u].user.exec: refused: credential plugins"},
      {Kubeconfig(good_cluster, "{auth-provider: {name: gcp}}"), "auth-provider: refused"},
      {Kubeconfig(good_cluster, "{username: u, password: p}"), "username: API servers take no passwords"},
      {Kubeconfig(good_cluster, "{as: admin}"), "impersonation"},
      {Kubeconfig(good_cluster, "{client-certificate: a}"), "client-key: is missing"},
      {Kubeconfig(good_cluster, "{client-key: a}"), "client-certificate: is missing"},
  };
  const TemporaryFolder folder;
  for (const Case& c : cases) {
    const absl::Status status = LoadKubeconfig(folder.Write("config", c.text)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.text;
    EXPECT_THAT(std::string(status.message()), HasSubstr(folder / "config")) << c.text;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.expected)) << c.text;
  }
  EXPECT_FALSE(LoadKubeconfig(folder / "absent").ok());
}

TEST(KubeconfigTest, ErrorsShowNoSecret) {
  const TemporaryFolder folder;
  const std::string text = Kubeconfig("{server: 'https://h'}", "{client-key-data: '%secret%', client-certificate: a}");
  EXPECT_THAT(std::string(LoadKubeconfig(folder.Write("config", text)).status().message()),
              ::testing::Not(HasSubstr("secret")));
}

TEST(KubeconfigTest, FuzzedTextIsReadOrRefused) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937_64 random(seed);
  const TemporaryFolder folder;
  const std::string good =
      Kubeconfig(absl::StrCat("{server: 'https://h', certificate-authority-data: ", Base64(kPem), "}"), "{token: abc}");
  int read = 0;
  for (int round = 0; round < 400; ++round) {
    std::string text = good;
    for (uint64_t edits = 1 + random() % 4; edits > 0; --edits) {
      const size_t at = random() % text.size();
      switch (random() % 4) {
        case 0:
          text[at] = static_cast<char>(random());
          break;
        case 1:
          text.erase(at, random() % 20);
          break;
        case 2:
          text.insert(at, std::string(1 + random() % 30, "[{&*:-\n'\" "[random() % 10]));
          break;
        default:
          text.insert(at, text.substr(random() % text.size(), random() % 40));
      }
      if (text.empty()) text = " ";
    }
    const absl::StatusOr<Config> config = LoadKubeconfig(folder.Write("config", text));
    if (config.ok()) {
      ++read;
      EXPECT_TRUE(ParseServerUrl(config->server).ok()) << text;
    } else {
      EXPECT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument) << text;
    }
  }
  EXPECT_GT(read, 0) << "seed " << seed;
}

TEST(InClusterConfigTest, NeedsAPodAndItsToken) {
  const TemporaryFolder folder;
  unsetenv("KUBERNETES_SERVICE_HOST");
  EXPECT_EQ(InClusterConfig(folder.path()).status().code(), absl::StatusCode::kNotFound);
  setenv("KUBERNETES_SERVICE_HOST", "fd00::1", 1);
  setenv("KUBERNETES_SERVICE_PORT", "443", 1);
  EXPECT_THAT(std::string(InClusterConfig(folder.path()).status().message()), HasSubstr("ca.crt is not there"));
  folder.Write("ca.crt", kPem);
  folder.Write("token", "abc\n");
  folder.Write("namespace", "team\n");
  const absl::StatusOr<Config> config = InClusterConfig(folder.path());
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->server, "https://[fd00::1]:443");
  EXPECT_EQ(config->token_file, folder / "token");
  EXPECT_EQ(config->default_namespace, "team");
  unsetenv("KUBERNETES_SERVICE_HOST");
  unsetenv("KUBERNETES_SERVICE_PORT");
}

TEST(ServerUrlTest, TakesApartHostPortAndPrefix) {
  EXPECT_EQ(ParseServerUrl("https://h")->port, 443);
  EXPECT_EQ(ParseServerUrl("https://h:6443/")->path_prefix, "");
  EXPECT_EQ(ParseServerUrl("https://h/k8s/clusters/a/")->path_prefix, "/k8s/clusters/a");
  EXPECT_EQ(ParseServerUrl("https://[::1]")->host, "::1");
  EXPECT_EQ(ParseServerUrl("https://[::1]:6443")->port, 6443);
  for (const char* bad : {"", "https://", "https://h:0", "https://h:x", "https://u@h", "https://h?a", "https://a b",
                          "https://::1", "ftp://h", "http://h"}) {
    EXPECT_EQ(ParseServerUrl(bad).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
}

}  // namespace
}  // namespace slmmesh::kube
