#include "common/admin_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <boost/asio/connect.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>

#include "common/files.h"
#include "common/temporary_folder.h"

namespace slmmesh {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;
using testing::HasSubstr;

struct Answer {
  boost::system::error_code error;
  int status = 0;
  std::string content_type;
  std::string body;
};

class AdminServerTest : public testing::Test {
 protected:
  AdminServerTest() {
    metrics_.Counter("slmmesh_tests_total", "tests").Increment();
    AdminServer::Options options;
    options.tls = Issue(Role::kHead, "h");
    options.cluster = "c1";
    options.metrics = &metrics_;
    options.ready = [this] { return ready_.load(); };
    options.pages["/table"] = {"application/json", [] { return std::string("{\"groups\":[]}"); }};
    auto server = AdminServer::Start(std::move(options));
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  TlsFiles Issue(Role role, const std::string& pod) {
    EXPECT_EQ(authority_->IssueInto(folder_ / pod, role, pod, 3600), absl::OkStatus());
    return TlsFilesIn(folder_ / pod);
  }

  Answer Fetch(const TlsFiles& files, const std::string& target, http::verb verb = http::verb::get,
               const std::string& extra = "") {
    return FetchWith(MakeClientContext(files).value(), target, verb, extra);
  }

  // As a kubelet does: no certificate, nothing verified.
  Answer FetchWithoutCertificate(const std::string& target) {
    return FetchWith({SSL_CTX_new(TLS_client_method()), SSL_CTX_free}, target, http::verb::get, "");
  }

  Answer FetchWith(const std::shared_ptr<SSL_CTX>& context, const std::string& target, http::verb verb,
                   const std::string& extra) {
    asio::io_context io;
    SSL_CTX_up_ref(context.get());
    asio::ssl::context tls(context.get());
    asio::ssl::stream<tcp::socket> stream(io, tls);
    ExpectPeer(stream.native_handle(), "c1", Role::kHead);
    Answer answer;
    stream.next_layer().connect({asio::ip::make_address("127.0.0.1"), static_cast<uint16_t>(server_->port())});
    stream.handshake(asio::ssl::stream_base::client, answer.error);
    if (answer.error) return answer;
    http::request<http::empty_body> request(verb, target, 11);
    if (!extra.empty()) request.set("X-Extra", extra);
    http::write(stream, request, answer.error);
    beast::flat_buffer buffer;
    http::response<http::string_body> response;
    if (!answer.error) http::read(stream, buffer, response, answer.error);
    answer.status = response.result_int();
    answer.content_type = std::string(response[http::field::content_type]);
    answer.body = response.body();
    return answer;
  }

  TemporaryFolder folder_;
  std::unique_ptr<CertificateAuthority> authority_ = CertificateAuthority::Create("c1").value();
  Metrics metrics_;
  std::atomic<bool> ready_ = true;
  std::unique_ptr<AdminServer> server_;
};

TEST_F(AdminServerTest, ServesItsPages) {
  const TlsFiles monitor = Issue(Role::kMonitor, "m");
  EXPECT_EQ(Fetch(monitor, "/healthz").body, "ok\n");
  const Answer metrics = Fetch(monitor, "/metrics");
  EXPECT_EQ(metrics.status, 200);
  EXPECT_THAT(metrics.content_type, HasSubstr("version=0.0.4"));
  EXPECT_THAT(metrics.body, HasSubstr("slmmesh_tests_total 1\n"));
  const Answer table = Fetch(monitor, "/table?pretty=1");
  EXPECT_EQ(table.content_type, "application/json");
  EXPECT_EQ(table.body, "{\"groups\":[]}");
  EXPECT_EQ(Fetch(monitor, "/nothing").status, 404);
  EXPECT_EQ(Fetch(monitor, "/metrics", http::verb::post).status, 405);
}

TEST_F(AdminServerTest, ReadinessFollowsTheProcess) {
  const TlsFiles admin = Issue(Role::kAdmin, "a");
  EXPECT_EQ(Fetch(admin, "/readyz").status, 200);
  ready_ = false;
  EXPECT_EQ(Fetch(admin, "/readyz").status, 503);
  EXPECT_EQ(Fetch(admin, "/healthz").status, 200);
}

TEST_F(AdminServerTest, OtherRolesAreRefused) {
  const Answer answer = Fetch(Issue(Role::kWorker, "w"), "/metrics");
  EXPECT_EQ(answer.status, 403);
  EXPECT_THAT(answer.body, HasSubstr("'worker'"));
}

TEST_F(AdminServerTest, ProbesNeedNoCertificateAndSeeNothingElse) {
  EXPECT_EQ(FetchWithoutCertificate("/healthz").status, 200);
  EXPECT_EQ(FetchWithoutCertificate("/readyz?verbose").status, 200);
  ready_ = false;
  EXPECT_EQ(FetchWithoutCertificate("/readyz").status, 503);
  for (const char* page : {"/metrics", "/table", "/nothing", "/healthz/", "/"}) {
    EXPECT_EQ(FetchWithoutCertificate(page).status, 403) << page;
  }
}

TEST_F(AdminServerTest, ACertificateOfAnotherAuthorityIsRefusedEvenWhereNoneIsNeeded) {
  const auto foreign = CertificateAuthority::Create("c1").value();
  ASSERT_EQ(foreign->IssueInto(folder_ / "foreign", Role::kMonitor, "m", 3600), absl::OkStatus());
  TlsFiles files = TlsFilesIn(folder_ / "foreign");
  files.ca = TlsFilesIn(folder_ / "h").ca;
  EXPECT_TRUE(Fetch(files, "/healthz").error);
}

TEST_F(AdminServerTest, TheMonitorOfAllClustersReadsMetricsWhereItsAuthorityIsTrusted) {
  const auto monitoring = CertificateAuthority::Create(kMonitoringCluster).value();
  for (Role role : {Role::kMonitor, Role::kAdmin}) {
    ASSERT_EQ(monitoring->IssueInto(folder_ / std::string(RoleName(role)), role, "p", 3600), absl::OkStatus());
  }
  const auto files_of = [this](Role role) {
    TlsFiles files = TlsFilesIn(folder_ / std::string(RoleName(role)));
    files.ca = TlsFilesIn(folder_ / "h").ca;
    return files;
  };
  EXPECT_TRUE(Fetch(files_of(Role::kMonitor), "/metrics").error);
  ASSERT_EQ(WriteFileAtomic(TlsFilesIn(folder_ / "h").ca, authority_->cert_pem() + monitoring->cert_pem()),
            absl::OkStatus());
  EXPECT_EQ(Fetch(files_of(Role::kMonitor), "/metrics").status, 200);
  EXPECT_EQ(Fetch(files_of(Role::kMonitor), "/table").status, 403);
  EXPECT_EQ(Fetch(files_of(Role::kAdmin), "/metrics").status, 403);
  EXPECT_EQ(Fetch(Issue(Role::kMonitor, "m"), "/metrics").status, 200);
}

TEST_F(AdminServerTest, HeadersAreBounded) {
  const TlsFiles monitor = Issue(Role::kMonitor, "m");
  EXPECT_EQ(Fetch(monitor, "/healthz", http::verb::get, std::string(4000, 'x')).status, 200);
  EXPECT_TRUE(Fetch(monitor, "/healthz", http::verb::get, std::string(10000, 'x')).error);
}

TEST_F(AdminServerTest, ConnectionsAreBounded) {
  const TlsFiles monitor = Issue(Role::kMonitor, "m");
  asio::io_context io;
  std::vector<tcp::socket> idle;
  for (int i = 0; i < 64; ++i) {
    idle.emplace_back(io).connect({asio::ip::make_address("127.0.0.1"), static_cast<uint16_t>(server_->port())});
  }
  EXPECT_TRUE(Fetch(monitor, "/healthz").error);  // accepted in order: 64 are ahead of it
  idle.clear();
  Answer answer;
  do {
    answer = Fetch(monitor, "/healthz");
  } while (answer.error);  // until the server has noticed that they are gone
  EXPECT_EQ(answer.status, 200);
}

TEST_F(AdminServerTest, RenewedCertificateIsServedWithoutRestart) {
  const TlsFiles monitor = Issue(Role::kMonitor, "m");
  EXPECT_EQ(Fetch(monitor, "/healthz").status, 200);
  authority_ = CertificateAuthority::Create("c1").value();
  Issue(Role::kHead, "h");
  EXPECT_TRUE(Fetch(monitor, "/healthz").error);
  Issue(Role::kMonitor, "m");
  EXPECT_EQ(Fetch(monitor, "/healthz").status, 200);
}

TEST_F(AdminServerTest, BadAddressesAreErrors) {
  AdminServer::Options options;
  options.tls = Issue(Role::kHead, "h");
  options.address = "nowhere";
  EXPECT_EQ(AdminServer::Start(options).status().code(), absl::StatusCode::kInvalidArgument);
  options.address = "127.0.0.1:" + std::to_string(server_->port());
  EXPECT_EQ(AdminServer::Start(options).status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace slmmesh
