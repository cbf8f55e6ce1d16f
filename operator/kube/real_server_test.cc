// Against a real kube-apiserver: KUBECONFIG_FOR_TESTS names a kubeconfig of an administrator. Everything is made in a
// namespace of its own, which needs no controllers, nodes or kubelets.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <set>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/random.h"
#include "nlohmann/json.hpp"
#include "operator/kube/client.h"
#include "operator/kube/events.h"
#include "operator/kube/informer.h"
#include "operator/kube/lease.h"
#include "operator/kube/testing/eventually.h"

namespace slmmesh::kube {
namespace {

using nlohmann::json;
using resources::kConfigMaps;
using ::testing::HasSubstr;

const Resource kServiceAccounts{"", "v1", "serviceaccounts", "ServiceAccount", true};

json ConfigMap(const std::string& name, const std::string& value) {
  return {{"apiVersion", "v1"}, {"kind", "ConfigMap"}, {"metadata", {{"name", name}}}, {"data", {{"key", value}}}};
}

json Pod(const std::string& name) {
  return {{"apiVersion", "v1"},
          {"kind", "Pod"},
          {"metadata", {{"name", name}, {"labels", {{"app", "test"}}}}},
          {"spec", {{"containers", {{{"name", "main"}, {"image", "none"}}}}}}};
}

class RealServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* path = std::getenv("KUBECONFIG_FOR_TESTS");
    if (path == nullptr) {
      GTEST_SKIP() << "KUBECONFIG_FOR_TESTS names no kubeconfig: the client is not tried on a real API server";
    }
    absl::StatusOr<Config> config = LoadKubeconfig(path);
    ASSERT_TRUE(config.ok()) << config.status();
    options_.config = *config;
    absl::StatusOr<std::unique_ptr<Client>> client = Client::Create(options_);
    ASSERT_TRUE(client.ok()) << client.status();
    client_ = *std::move(client);
    Made(client_->Create({resources::kNamespaces, "", ns_, ""}, {{"metadata", {{"name", ns_}}}}));
  }
  void TearDown() override {
    if (client_ != nullptr) (void)client_->Delete({resources::kNamespaces, "", ns_, ""}, {});
  }

  static json Made(const absl::StatusOr<json>& result) {
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? *result : json::object();
  }
  ObjectRef MapRef(const std::string& name) const { return {kConfigMaps, ns_, name, ""}; }
  Reflector::Options OfNamespace(const Resource& resource) const {
    Reflector::Options options;
    options.resource = resource;
    options.list.ns = ns_;
    return options;
  }

  const std::string ns_ = "kube-test-" + RandomHexId(6);
  Client::Options options_;
  std::unique_ptr<Client> client_;
};

TEST_F(RealServerTest, ObjectsLiveAndDie) {
  EXPECT_THAT(*client_->GetRaw("/version"), HasSubstr("gitVersion"));
  Made(client_->Create(MapRef("a"), ConfigMap("a", "1")));
  EXPECT_EQ(client_->Create(MapRef("a"), ConfigMap("a", "1")).status().code(), absl::StatusCode::kAlreadyExists);
  json first = Made(client_->Get(MapRef("a")));
  json second = first;
  first["data"]["key"] = "2";
  Made(client_->Update(MapRef("a"), first));
  EXPECT_EQ(client_->Update(MapRef("a"), second).status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(Made(client_->MergePatch(MapRef("a"), {{"data", {{"other", "3"}}}}))["data"]["key"], "2");
  EXPECT_EQ(client_->Delete(MapRef("a"), {.uid = "not-it"}).code(), absl::StatusCode::kAborted);
  EXPECT_TRUE(client_->Delete(MapRef("a"), {.uid = first["metadata"]["uid"]}).ok());
  EXPECT_EQ(client_->Get(MapRef("a")).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(client_->Delete(MapRef("a"), {}).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(client_->Create(MapRef("B_"), ConfigMap("B_", "1")).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(RealServerTest, ServerSideApplyKnowsItsManagers) {
  const json ours = ConfigMap("a", "ours");
  Made(client_->Apply(MapRef("a"), ours, "us", false));
  const uint64_t before = client_->stats().requests;
  Made(client_->Apply(MapRef("a"), ours, "us", false));
  EXPECT_EQ(client_->stats().requests, before + 1);
  const absl::Status conflict = client_->Apply(MapRef("a"), ConfigMap("a", "theirs"), "them", false).status();
  EXPECT_EQ(conflict.code(), absl::StatusCode::kAborted);
  EXPECT_THAT(std::string(conflict.message()), HasSubstr("us"));
  EXPECT_EQ(Made(client_->Apply(MapRef("a"), ConfigMap("a", "theirs"), "them", true))["data"]["key"], "theirs");
}

TEST_F(RealServerTest, WrongCredentialsAreTold) {
  options_.config.cert_file = options_.config.key_file = options_.config.cert_pem = options_.config.key_pem = "";
  options_.config.token = "wrong";
  const absl::StatusOr<std::unique_ptr<Client>> stranger = Client::Create(options_);
  ASSERT_TRUE(stranger.ok());
  EXPECT_EQ((*stranger)->Get(MapRef("a")).status().code(), absl::StatusCode::kUnauthenticated);
  options_.config.tls_server_name = "elsewhere.example";
  EXPECT_THAT(std::string((*Client::Create(options_))->GetRaw("/version").status().message()),
              HasSubstr("certificate is refused"));
}

TEST_F(RealServerTest, ListsInPages) {
  std::set<std::string> expected;
  for (int i = 0; i < 25; ++i) {
    const std::string name = absl::StrCat("m", i);
    Made(client_->Create(MapRef(name), ConfigMap(name, "x")));
    expected.insert(name);
  }
  std::set<std::string> seen;
  const uint64_t before = client_->stats().requests;
  ListOptions options;
  options.ns = ns_;
  options.page_size = 7;
  const absl::StatusOr<std::string> version = client_->List(
      kConfigMaps, options, [&seen](const json& item) { seen.insert(item["metadata"]["name"].get<std::string>()); });
  ASSERT_TRUE(version.ok()) << version.status();
  EXPECT_EQ(seen, expected);
  EXPECT_EQ(client_->stats().requests, before + 4);
  options.field_selector = "metadata.name=m7";
  seen.clear();
  EXPECT_TRUE(client_
                  ->List(kConfigMaps, options,
                         [&seen](const json& item) { seen.insert(item["metadata"]["name"].get<std::string>()); })
                  .ok());
  EXPECT_EQ(seen, std::set<std::string>{"m7"});
}

TEST_F(RealServerTest, InformersFollow) {
  Made(client_->Create(MapRef("a"), ConfigMap("a", "1")));
  Informer<std::string> informer(
      client_.get(), OfNamespace(kConfigMaps),
      [](const json& object) { return std::make_shared<const std::string>(object["data"].value("key", "")); }, nullptr);
  informer.Start();
  ASSERT_TRUE(informer.WaitForSync(absl::Seconds(20)));
  EXPECT_EQ(*informer.Get(ns_ + "/a"), "1");
  Made(client_->MergePatch(MapRef("a"), {{"data", {{"key", "2"}}}}));
  EXPECT_TRUE(Eventually([&] { return *informer.Get(ns_ + "/a") == "2"; }));
  Made(client_->Create(MapRef("b"), ConfigMap("b", "3")));
  EXPECT_TRUE(Eventually([&] { return informer.size() == 2; }));
  EXPECT_TRUE(client_->Delete(MapRef("a"), {}).ok());
  EXPECT_TRUE(Eventually([&] { return informer.Get(ns_ + "/a") == nullptr; }));
}

// Events are the resource that the API server keeps no watch cache of: etcd itself tells what it has forgotten. It
// forgets after five minutes; a younger server cannot be asked.
TEST_F(RealServerTest, AWatchFromTooLongAgoIsToldToListAgain) {
  const absl::Time end = Clock::Real().Now() + absl::Seconds(2);
  const absl::Status status = client_->Watch(
      resources::kEvents, {}, "1", [](WatchEventType, const json&) {}, [end] { return Clock::Real().Now() > end; });
  if (absl::IsCancelled(status)) GTEST_SKIP() << "this API server is too young to have forgotten anything";
  EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange) << status;
}

TEST_F(RealServerTest, CustomResourcesHaveSchemaStatusAndWatch) {
  const std::string plural = "things" + RandomHexId(3);
  const Resource things{"test.slmmesh.io", "v1", plural, "Thing" + plural, true};
  const ObjectRef crd{resources::kCustomResourceDefinitions, "", plural + ".test.slmmesh.io", ""};
  const json schema = {
      {"type", "object"},
      {"properties",
       {{"spec", {{"type", "object"}, {"properties", {{"size", {{"type", "integer"}, {"minimum", 1}}}}}}},
        {"status", {{"type", "object"}, {"properties", {{"ready", {{"type", "integer"}}}}}}}}}};
  Made(client_->Create(crd, {{"apiVersion", "apiextensions.k8s.io/v1"},
                             {"kind", "CustomResourceDefinition"},
                             {"metadata", {{"name", crd.name}}},
                             {"spec",
                              {{"group", things.group},
                               {"scope", "Namespaced"},
                               {"names", {{"plural", plural}, {"kind", things.kind}}},
                               {"versions",
                                {{{"name", "v1"},
                                  {"served", true},
                                  {"storage", true},
                                  {"subresources", {{"status", json::object()}}},
                                  {"schema", {{"openAPIV3Schema", schema}}}}}}}}}));
  const auto thing = [&](int size) {
    return json{{"apiVersion", "test.slmmesh.io/v1"},
                {"kind", things.kind},
                {"metadata", {{"name", "a"}}},
                {"spec", {{"size", size}}}};
  };
  const ObjectRef ref{things, ns_, "a", ""};
  ASSERT_TRUE(Eventually([&] { return client_->Create(ref, thing(1)).ok(); })) << "the definition takes effect";
  EXPECT_EQ(client_->Apply(ref, thing(0), "us", true).status().code(), absl::StatusCode::kInvalidArgument);
  Informer<json> informer(
      client_.get(), OfNamespace(things),
      [](const json& object) { return std::make_shared<const json>(object.value("status", json::object())); }, nullptr);
  informer.Start();
  ASSERT_TRUE(informer.WaitForSync(absl::Seconds(20)));
  Made(client_->MergePatch({things, ns_, "a", "status"}, {{"status", {{"ready", 2}}}}));
  EXPECT_TRUE(Eventually([&] { return informer.Get(ns_ + "/a")->value("ready", 0) == 2; }));
  EXPECT_TRUE(client_->Delete(crd, {}).ok());
}

TEST_F(RealServerTest, ALeasePassesOn) {
  const auto start = [this](const std::string& identity, std::atomic<int>& started) {
    LeaderElector::Options election;
    election.ns = ns_;
    election.name = "operator";
    election.identity = identity;
    election.retry_period = absl::Milliseconds(100);
    election.on_started = [&started] { ++started; };
    return LeaderElector::Start(client_.get(), election);
  };
  std::atomic<int> first_started{0};
  std::atomic<int> second_started{0};
  auto first = start("first", first_started);
  ASSERT_TRUE(Eventually([&] { return first_started == 1; }));
  const auto second = start("second", second_started);
  ASSERT_TRUE(Eventually([&] { return second->leader() == "first"; }));
  first.reset();
  EXPECT_TRUE(Eventually([&] { return second_started == 1; })) << "long before the lease's 15 seconds are over";
  EXPECT_EQ(Made(client_->Get({resources::kLeases, ns_, "operator", ""}))["spec"]["leaseTransitions"], 1);
}

TEST_F(RealServerTest, EventsAreCounted) {
  auto recorder = EventRecorder::Start(client_.get(), "slm-mesh-test");
  const EventTarget target{kConfigMaps, ns_, "a", "uid"};
  for (int i = 0; i < 3; ++i) recorder->Record(target, EventType::kWarning, "Tested", "three times");
  recorder.reset();
  std::vector<json> events;
  ListOptions options;
  options.ns = ns_;
  ASSERT_TRUE(client_->List(resources::kEvents, options, [&events](const json& item) { events.push_back(item); }).ok());
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0]["count"], 3);
}

// What the operator does when many clusters come at once. The rate is reported, not judged.
TEST_F(RealServerTest, SixteenThreadsCreatePodsThatAnInformerSees) {
  constexpr int kThreads = 16;
  constexpr int kPodsEach = 25;
  Made(client_->Create({kServiceAccounts, ns_, "default", ""}, {{"metadata", {{"name", "default"}}}}));
  Informer<std::string> informer(
      client_.get(), OfNamespace(resources::kPods),
      [](const json& object) { return std::make_shared<const std::string>(object["metadata"]["uid"]); }, nullptr);
  informer.Start();
  ASSERT_TRUE(informer.WaitForSync(absl::Seconds(20)));
  const uint64_t before = client_->stats().requests;
  const absl::Time begin = Clock::Real().Now();
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([this, thread] {
      for (int i = 0; i < kPodsEach; ++i) {
        const std::string name = absl::StrCat("p", thread, "-", i);
        Made(client_->Create({resources::kPods, ns_, name, ""}, Pod(name)));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(Eventually([&] { return informer.size() == kThreads * kPodsEach; }));
  const double seconds = absl::ToDoubleSeconds(Clock::Real().Now() - begin);
  // One trip each; the informer's first watch may come before or after the count begins.
  EXPECT_LE(client_->stats().requests - before, static_cast<uint64_t>(kThreads * kPodsEach + 1));
  RecordProperty("pods_per_second", absl::StrCat(kThreads * kPodsEach / seconds));
}

}  // namespace
}  // namespace slmmesh::kube
