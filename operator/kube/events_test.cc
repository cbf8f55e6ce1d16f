#include "operator/kube/events.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "nlohmann/json.hpp"
#include "operator/kube/testing/eventually.h"
#include "operator/kube/testing/fake_api_server.h"
#include "operator/kube/testing/fake_store.h"

namespace slmmesh::kube {
namespace {

using nlohmann::json;

constexpr char kEvents[] = "/api/v1/events";

class EventsTest : public ::testing::Test {
 protected:
  EventsTest() {
    Client::Options options;
    options.config = server_->config();
    client_ = *Client::Create(options);
    recorder_ = EventRecorder::Start(client_.get(), "slm-mesh-operator");
  }

  FakeStore store_;
  absl::Mutex mutex_;
  std::vector<std::pair<std::string, json>> written_ ABSL_GUARDED_BY(mutex_);  // method, object
  std::unique_ptr<FakeApiServer> server_ = FakeApiServer::Start([this](FakeExchange& exchange) {
    {
      const absl::MutexLock lock(&mutex_);
      written_.emplace_back(exchange.method, json::parse(exchange.body, nullptr, false));
    }
    store_.handler()(exchange);
  });
  std::unique_ptr<Client> client_;
  std::unique_ptr<EventRecorder> recorder_;
  const EventTarget demo_{resources::kInferenceClusters, "team", "demo", "uid-1"};
};

TEST_F(EventsTest, WritesWhatDescribeShows) {
  recorder_->Record(demo_, EventType::kWarning, "ImageMissing", "image x cannot be pulled");
  recorder_.reset();  // writes what is queued
  const absl::MutexLock lock(&mutex_);
  ASSERT_EQ(written_.size(), 1u);
  const json& event = written_[0].second;
  EXPECT_EQ(event["involvedObject"], (json{{"apiVersion", "slmmesh.io/v1alpha1"},
                                           {"kind", "InferenceCluster"},
                                           {"namespace", "team"},
                                           {"name", "demo"},
                                           {"uid", "uid-1"}}));
  EXPECT_EQ(event["type"], "Warning");
  EXPECT_EQ(event["reason"], "ImageMissing");
  EXPECT_EQ(event["message"], "image x cannot be pulled");
  EXPECT_EQ(event["source"]["component"], "slm-mesh-operator");
  EXPECT_EQ(event["count"], 1);
  EXPECT_EQ(event["metadata"]["namespace"], "team");
  EXPECT_THAT(event["metadata"]["name"].get<std::string>(), ::testing::StartsWith("demo."));
}

TEST_F(EventsTest, EqualOnesAreOneObjectWithACount) {
  for (int i = 0; i < 5; ++i) recorder_->Record(demo_, EventType::kNormal, "Waiting", "for weights");
  recorder_->Record(demo_, EventType::kNormal, "Waiting", "for memory");
  recorder_.reset();
  EXPECT_EQ(store_.Count(kEvents), 2u);
  const absl::MutexLock lock(&mutex_);
  ASSERT_EQ(written_.size(), 6u);
  EXPECT_EQ(written_[4].first, "PATCH");
  EXPECT_EQ(written_[4].second["count"], 5);
}

TEST_F(EventsTest, AnEventThatIsGoneIsMadeAnew) {
  recorder_->Record(demo_, EventType::kNormal, "Waiting", "for weights");
  ASSERT_TRUE(Eventually([this] { return store_.Count(kEvents) == 1; }));
  {
    const absl::MutexLock lock(&mutex_);
    store_.Remove(kEvents, "team", written_[0].second["metadata"]["name"]);
  }
  recorder_->Record(demo_, EventType::kNormal, "Waiting", "for weights");
  recorder_.reset();
  EXPECT_EQ(store_.Count(kEvents), 1u);
}

TEST_F(EventsTest, AFlappingObjectIsLimitedAndOthersAreNot) {
  for (int i = 0; i < 100; ++i) recorder_->Record(demo_, EventType::kNormal, "Flaps", absl::StrCat("time ", i));
  recorder_->Record({resources::kNodes, "", "node-1", "uid-2"}, EventType::kNormal, "Seen", "once");
  recorder_.reset();
  EXPECT_EQ(store_.Count(kEvents), 26u);
  const absl::MutexLock lock(&mutex_);
  EXPECT_EQ(written_.back().second["metadata"]["namespace"], "default");
}

TEST_F(EventsTest, LongTextsAreCutBetweenCharacters) {
  std::string text(1023, 'a');
  recorder_->Record(demo_, EventType::kNormal, std::string(200, 'R'), text + "\xC3\xA9 and more");
  recorder_.reset();
  const absl::MutexLock lock(&mutex_);
  ASSERT_EQ(written_.size(), 1u);
  EXPECT_EQ(written_[0].second["message"], text);
  EXPECT_EQ(written_[0].second["reason"].get<std::string>().size(), 128u);
}

TEST(EventsQueueTest, AServerThatHangsNeverBlocksTheCaller) {
  const auto server = FakeApiServer::Start([](FakeExchange& exchange) { exchange.WaitForEnd(); });
  Client::Options options;
  options.config = server->config();
  options.request_timeout = absl::Milliseconds(100);
  const std::unique_ptr<Client> client = *Client::Create(options);
  const auto recorder = EventRecorder::Start(client.get(), "test");
  for (int i = 0; i < 5000; ++i) {
    recorder->Record({resources::kPods, "a", absl::StrCat("p", i), ""}, EventType::kNormal, "R", "m");
  }
}

}  // namespace
}  // namespace slmmesh::kube
