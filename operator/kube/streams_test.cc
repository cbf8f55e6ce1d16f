// What cuts the API server's streams: lists into items, watches into events.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "operator/kube/list_splitter.h"
#include "operator/kube/watch_lines.h"

namespace slmmesh::kube {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;

struct SplitList {
  absl::Status status;
  json list;
  std::vector<json> items;
};

// In pieces of `piece` bytes.
SplitList Split(const std::string& text, size_t piece) {
  SplitList result;
  ListSplitter splitter([&result](const json& item) { result.items.push_back(item); });
  for (size_t at = 0; at < text.size(); at += piece) {
    result.status = splitter.Feed(absl::string_view(text).substr(at, piece));
    if (!result.status.ok()) return result;
  }
  absl::StatusOr<json> list = splitter.Finish();
  result.status = list.status();
  if (list.ok()) result.list = *list;
  return result;
}

TEST(ListSplitterTest, GivesItemsWhereverThePiecesEnd) {
  const std::string text =
      R"({"kind":"items","metadata":{"resourceVersion":"7","items":[1]},"items":[{"a":"}]\"\\","b":[{"c":{}}]},)"
      "\n"
      R"( {"items":[{}]},{} ],"apiVersion":"v1"})";
  for (size_t piece = 1; piece <= text.size(); ++piece) {
    const SplitList split = Split(text, piece);
    ASSERT_TRUE(split.status.ok()) << split.status;
    EXPECT_THAT(split.items, ElementsAre(json{{"a", "}]\"\\"}, {"b", {{{"c", json::object()}}}}},
                                         json{{"items", {json::object()}}}, json::object()));
    EXPECT_EQ(split.list["metadata"]["resourceVersion"], "7");
    EXPECT_EQ(split.list["apiVersion"], "v1");
    EXPECT_EQ(split.list["items"], json::array());
  }
}

TEST(ListSplitterTest, TakesEmptyAndAbsentItems) {
  for (const char* text : {R"({"items":null,"kind":"L"})", R"({"items":[],"kind":"L"})", R"({"kind":"L"})"}) {
    const SplitList split = Split(text, 3);
    EXPECT_TRUE(split.status.ok()) << text;
    EXPECT_TRUE(split.items.empty());
    EXPECT_EQ(split.list["kind"], "L");
  }
}

TEST(ListSplitterTest, RefusesWhatIsNoList) {
  for (const char* text : {"", "7", "[]", R"({"items":[{})", R"({"items":[{}]})}", R"({"items":[1]})",
                           R"({"items":[{"a"}]})", R"({"items":[{}]} x)", R"(}{"items":[]})"}) {
    EXPECT_FALSE(Split(text, 4).status.ok()) << text;
  }
}

TEST(ListSplitterTest, BoundsAnItem) {
  ListSplitter splitter([](const json&) {});
  const std::string piece(1 << 20, 'a');
  absl::Status status = splitter.Feed(R"({"items":[{"a":")");
  for (int i = 0; i < 20 && status.ok(); ++i) status = splitter.Feed(piece);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
}

// Whatever bytes come: an error, or what the JSON parser says.
TEST(ListSplitterTest, FuzzedListsAgreeWithTheParser) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937_64 random(seed);
  const std::string good =
      R"({"kind":"PodList","metadata":{"resourceVersion":"7"},"items":[{"a":"x\\\"y","b":[1,{}]},{"c":"[{"}]})";
  int split_well = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string text = good;
    for (uint64_t edits = random() % 3; edits > 0; --edits) {
      const size_t at = random() % text.size();
      if (random() % 2 == 0) {
        text[at] = R"([]{}",:\ax)"[random() % 10];
      } else {
        text.erase(at, 1 + random() % 3);
      }
    }
    const SplitList split = Split(text, 1 + random() % 16);
    const json whole = json::parse(text, nullptr, false);
    if (!split.status.ok()) continue;
    ++split_well;
    if (whole.is_discarded()) continue;  // commas between items are not counted: the server's business
    const json items =
        whole.is_object() && whole.contains("items") && whole["items"].is_array() ? whole["items"] : json::array();
    EXPECT_EQ(json(split.items), items) << text;
  }
  EXPECT_GT(split_well, 5000);
}

TEST(LineSplitterTest, GivesWholeLinesWhereverThePiecesEnd) {
  const std::string text = "one\n\ntwo two\nthree\nrest";
  for (size_t piece = 1; piece <= text.size(); ++piece) {
    LineSplitter splitter(100);
    std::vector<std::string> lines;
    for (size_t at = 0; at < text.size(); at += piece) {
      ASSERT_TRUE(splitter
                      .Feed(absl::string_view(text).substr(at, piece),
                            [&lines](absl::string_view line) {
                              lines.emplace_back(line);
                              return absl::OkStatus();
                            })
                      .ok());
    }
    EXPECT_THAT(lines, ElementsAre("one", "two two", "three"));
  }
}

TEST(LineSplitterTest, RefusesALongLineInOnePieceOrMany) {
  const auto ignore = [](absl::string_view) { return absl::OkStatus(); };
  EXPECT_TRUE(LineSplitter(10).Feed(std::string(10, 'a') + "\n", ignore).ok());
  EXPECT_FALSE(LineSplitter(10).Feed(std::string(11, 'a') + "\n", ignore).ok());
  LineSplitter splitter(10);
  EXPECT_TRUE(splitter.Feed("aaaaaa", ignore).ok());
  EXPECT_FALSE(splitter.Feed("aaaaaa", ignore).ok());
}

TEST(WatchLineTest, DecodesEvents) {
  const absl::StatusOr<WatchEvent> event = DecodeWatchLine(R"({"type":"MODIFIED","object":{"kind":"Pod"}})");
  ASSERT_TRUE(event.ok());
  EXPECT_EQ(event->type, WatchEventType::kModified);
  EXPECT_EQ(event->object["kind"], "Pod");
  const auto code = [](const char* line) { return DecodeWatchLine(line).status().code(); };
  EXPECT_EQ(code(R"({"type":"ERROR","object":{"kind":"Status","code":410}})"), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(code(R"({"type":"ERROR","object":{"reason":"Expired"}})"), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(code(R"({"type":"ERROR","object":{"code":500}})"), absl::StatusCode::kUnavailable);
  for (const char* bad : {"", "7", "{}", R"({"type":"ADDED"})", R"({"type":"ADDED","object":7})",
                          R"({"type":"NEW","object":{}})", R"({"type":7,"object":{}})", "{\"type\":"}) {
    EXPECT_EQ(code(bad), absl::StatusCode::kUnavailable) << bad;
  }
}

TEST(WatchLineTest, FuzzedLinesAreDecodedOrRefused) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937_64 random(seed);
  const std::string good = R"({"type":"ADDED","object":{"metadata":{"name":"a","resourceVersion":"7"}}})";
  int decoded = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string text = good;
    for (uint64_t edits = random() % 3; edits > 0; --edits) text[random() % text.size()] = static_cast<char>(random());
    decoded += DecodeWatchLine(text).ok() ? 1 : 0;
  }
  EXPECT_GT(decoded, 5000);
  EXPECT_LT(decoded, 20000);
}

}  // namespace
}  // namespace slmmesh::kube
