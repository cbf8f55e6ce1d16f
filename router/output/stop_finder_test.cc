#include "router/output/stop_finder.h"

#include <gtest/gtest.h>

#include <random>

namespace slmmesh {
namespace {

struct Result {
  std::string text;
  bool found;
};

// The definition, read literally over the whole text.
Result Naive(const std::string& text, const std::vector<std::string>& stops, StopFinder::Include include) {
  for (size_t end = 1; end <= text.size(); ++end) {
    size_t longest = 0;
    for (const std::string& stop : stops) {
      if (stop.size() <= end && text.compare(end - stop.size(), stop.size(), stop) == 0) {
        longest = std::max(longest, stop.size());
      }
    }
    if (longest > 0) return {text.substr(0, include == StopFinder::Include::kYes ? end : end - longest), true};
  }
  return {text, false};
}

// Whether `text` ends with the beginning of a stop string.
bool MayGoOn(const std::string& text, const std::vector<std::string>& stops) {
  for (const std::string& stop : stops) {
    for (size_t n = 1; n < stop.size() && n <= text.size(); ++n) {
      if (text.compare(text.size() - n, n, stop, 0, n) == 0) return true;
    }
  }
  return false;
}

std::string RandomText(std::mt19937_64& random, size_t max_length) {
  std::string text;
  for (size_t length = random() % (max_length + 1); length > 0; --length) text.push_back("abc"[random() % 3]);
  return text;
}

TEST(StopFinder, EqualsTheNaiveSearchHoweverTheTextIsCut) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  for (int round = 0; round < 20000; ++round) {
    const std::string text = RandomText(random, 30);
    std::vector<std::string> stops;
    for (int i = random() % 4; i > 0; --i) stops.push_back(RandomText(random, 4) + "a");
    const auto include = random() % 2 == 0 ? StopFinder::Include::kNo : StopFinder::Include::kYes;
    const Result want = Naive(text, stops, include);
    StopFinder finder(stops, include);
    std::string got;
    for (size_t at = 0; at < text.size() && !finder.found();) {
      const size_t length = 1 + random() % 5;
      got += finder.Push(text.substr(at, length));
      at += length;
      ASSERT_LE(got.size(), want.text.size()) << "released what may be a stop string: " << text;
      const std::string seen = text.substr(0, at);
      if (!finder.found() && !MayGoOn(seen, stops)) {
        ASSERT_EQ(got, seen) << "held back without a reason";
      }
    }
    if (!finder.found()) got += finder.Finish();
    ASSERT_EQ(got, want.text) << text;
    ASSERT_EQ(finder.found(), want.found);
  }
}

TEST(StopFinder, Examples) {
  StopFinder finder({"</s>", "\n\n"}, StopFinder::Include::kNo);
  EXPECT_EQ(finder.Push("one <"), "one ");
  EXPECT_EQ(finder.Push("/b>\n"), "</b>");
  EXPECT_EQ(finder.Push("two\n"), "\ntwo");
  EXPECT_EQ(finder.Push("\nthree"), "");
  EXPECT_TRUE(finder.found());
  EXPECT_EQ(finder.Push("more"), "");
  EXPECT_EQ(finder.Finish(), "");
}

}  // namespace
}  // namespace slmmesh
