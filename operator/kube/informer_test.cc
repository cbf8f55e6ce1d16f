// Informers against a fake Kubernetes whose watches end, break and expire.
#include "operator/kube/informer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "operator/kube/testing/eventually.h"
#include "operator/kube/testing/fake_api_server.h"
#include "operator/kube/testing/fake_store.h"

namespace slmmesh::kube {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::Pair;

constexpr char kPods[] = "/api/v1/pods";

json WithValue(int value) { return {{"value", value}}; }

class InformerTest : public ::testing::Test {
 protected:
  InformerTest() {
    Client::Options options;
    options.config = server_->config();
    client_ = *Client::Create(options);
  }
  ~InformerTest() override {
    if (informer_ != nullptr) informer_->RequestStop();
  }

  // Keeps "value"; a negative one is not kept.
  void Start(int page_size = 250) {
    Reflector::Options options;
    options.resource = resources::kPods;
    options.list.page_size = page_size;
    options.shortest_backoff = absl::Milliseconds(1);
    options.longest_backoff = absl::Milliseconds(20);
    informer_ = std::make_unique<Informer<int>>(
        client_.get(), options,
        [](const json& object) {
          const int value = object.value("value", 0);
          return value < 0 ? nullptr : std::make_shared<const int>(value);
        },
        [this](const std::string& key, const auto& before, const auto& after) {
          const absl::MutexLock lock(&mutex_);
          changes_.push_back(
              absl::StrCat(key, ":", before ? absl::StrCat(*before) : "-", ">", after ? absl::StrCat(*after) : "-"));
        });
    informer_->Start();
  }
  bool WaitUntilWatching() {
    return informer_->WaitForSync(absl::Seconds(20)) && Eventually([this] { return store_.watches() == 1; });
  }
  bool WaitFor(const std::string& key, int value) {
    return Eventually([&] {
      const auto found = informer_->Get(key);
      return found != nullptr && *found == value;
    });
  }
  bool WaitForAbsence(const std::string& key) {
    return Eventually([&] { return informer_->Get(key) == nullptr; });
  }
  std::vector<std::string> TakeChanges() {
    const absl::MutexLock lock(&mutex_);
    return std::exchange(changes_, {});
  }
  std::map<std::string, int> All() {
    std::map<std::string, int> all;
    for (const auto& [key, value] : informer_->All()) all[key] = *value;
    return all;
  }

  FakeStore store_;
  std::unique_ptr<FakeApiServer> server_ = FakeApiServer::Start(store_.handler());
  std::unique_ptr<Client> client_;
  absl::Mutex mutex_;
  std::vector<std::string> changes_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<Informer<int>> informer_;
};

TEST_F(InformerTest, ListsThenFollows) {
  store_.Put(kPods, "ns", "a", WithValue(1));
  store_.Put(kPods, "ns", "b", WithValue(2));
  Start();
  ASSERT_TRUE(WaitUntilWatching());
  EXPECT_THAT(All(), ElementsAre(Pair("ns/a", 1), Pair("ns/b", 2)));
  EXPECT_THAT(TakeChanges(), ElementsAre("ns/a:->1", "ns/b:->2"));
  store_.Put(kPods, "ns", "a", WithValue(3));
  store_.Remove(kPods, "ns", "b");
  store_.Put(kPods, "ns", "c", WithValue(4));
  ASSERT_TRUE(WaitFor("ns/c", 4));
  EXPECT_THAT(All(), ElementsAre(Pair("ns/a", 3), Pair("ns/c", 4)));
  EXPECT_TRUE(Eventually([this] {
    const absl::MutexLock lock(&mutex_);
    return changes_.size() == 3;
  }));
  EXPECT_THAT(TakeChanges(), ElementsAre("ns/a:1>3", "ns/b:2>-", "ns/c:->4"));
}

TEST_F(InformerTest, WhatTheProjectionRefusesIsNotKept) {
  store_.Put(kPods, "ns", "a", WithValue(-1));
  store_.Put(kPods, "ns", "b", WithValue(1));
  Start();
  ASSERT_TRUE(WaitUntilWatching());
  EXPECT_EQ(informer_->size(), 1u);
  store_.Put(kPods, "ns", "b", WithValue(-1));
  ASSERT_TRUE(WaitForAbsence("ns/b"));
}

TEST_F(InformerTest, ListsInPagesAndStartsOverWhenTheTokenExpires) {
  for (int i = 0; i < 10; ++i) store_.Put(kPods, "ns", absl::StrCat("p", i), WithValue(i));
  store_.ExpireContinue(1);
  Start(/*page_size=*/3);
  ASSERT_TRUE(WaitUntilWatching());
  EXPECT_EQ(informer_->size(), 10u);
  EXPECT_EQ(store_.lists(), 2);
}

TEST_F(InformerTest, WatchesAgainWhereItWasWhenAWatchEndsOrBreaks) {
  Start();
  ASSERT_TRUE(WaitUntilWatching());
  for (int round = 1; round <= 10; ++round) {
    if (round % 2 == 0) {
      store_.EndWatches();
    } else {
      store_.BreakWatches();
    }
    store_.Put(kPods, "ns", "a", WithValue(round));
    ASSERT_TRUE(WaitFor("ns/a", round)) << round;
  }
  EXPECT_EQ(store_.lists(), 1);
}

TEST_F(InformerTest, ListsAgainAfter410AndDropsWhatIsGone) {
  store_.Put(kPods, "ns", "a", WithValue(1));
  store_.Put(kPods, "ns", "b", WithValue(2));
  Start();
  ASSERT_TRUE(WaitUntilWatching());
  TakeChanges();
  // All at once for the server's watch: it sees the compaction before the removal.
  store_.Remove(kPods, "ns", "a");
  store_.Put(kPods, "ns", "b", WithValue(3));
  store_.Compact();
  ASSERT_TRUE(WaitFor("ns/b", 3));
  ASSERT_TRUE(WaitForAbsence("ns/a"));
  store_.Put(kPods, "ns", "c", WithValue(4));
  ASSERT_TRUE(WaitFor("ns/c", 4));
}

TEST_F(InformerTest, AgreesWithTheServerWhateverHappensToItsWatches) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937_64 random(seed);
  Start(/*page_size=*/2);
  std::map<std::string, int> expected;
  for (int step = 0; step < 400; ++step) {
    if (step % 20 == 0) {
      ASSERT_TRUE(Eventually([&] { return All() == expected; })) << step;
    }
    const std::string name = absl::StrCat("p", random() % 8);
    switch (random() % 8) {
      case 0:
        store_.EndWatches();
        break;
      case 1:
        store_.BreakWatches();
        break;
      case 2:
        store_.Compact();
        break;
      case 3:
        store_.ExpireContinue(1);
        break;
      case 4:
      case 5:
        if (expected.erase("ns/" + name) > 0) store_.Remove(kPods, "ns", name);
        break;
      default:
        store_.Put(kPods, "ns", name, WithValue(step));
        expected["ns/" + name] = step;
    }
  }
  EXPECT_TRUE(Eventually([&] { return All() == expected; }));
}

TEST_F(InformerTest, IgnoresOtherResources) {
  Start();
  ASSERT_TRUE(WaitUntilWatching());
  store_.Put("/api/v1/services", "ns", "s", WithValue(1));
  store_.Put(kPods, "ns", "a", WithValue(1));
  ASSERT_TRUE(WaitFor("ns/a", 1));
  EXPECT_EQ(informer_->size(), 1u);
}

TEST(ReflectorTest, StopsWhileTheServerIsAwayOrHangs) {
  const auto server = FakeApiServer::Start([](FakeExchange& exchange) { exchange.WaitForEnd(); });
  Client::Options options;
  options.config = server->config();
  const std::unique_ptr<Client> hanging = *Client::Create(options);
  options.config.server = "https://127.0.0.1:1";
  const std::unique_ptr<Client> away = *Client::Create(options);
  Reflector::Sink sink;
  sink.begin_list = sink.end_list = [] {};
  sink.upsert = sink.remove = [](const json&) {};
  const Reflector::Options resource{resources::kPods};
  const auto first = Reflector::Start(hanging.get(), resource, sink);
  const auto second = Reflector::Start(away.get(), resource, sink);
  EXPECT_TRUE(Eventually([&] { return server->requests() == 1 && away->stats().failures >= 1; }));
  EXPECT_FALSE(first->synced());
  first->RequestStop();
  second->RequestStop();
}

TEST(KeyOfTest, NamespaceAndName) {
  EXPECT_EQ(KeyOf({{"metadata", {{"name", "a"}, {"namespace", "b"}}}}), "b/a");
  EXPECT_EQ(KeyOf({{"metadata", {{"name", "a"}}}}), "a");
  EXPECT_EQ(KeyOf({{"metadata", 7}}), "");
}

}  // namespace
}  // namespace slmmesh::kube
