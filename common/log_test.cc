#include "common/log.h"

#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "absl/strings/str_split.h"

namespace slmmesh {
namespace {

std::string Captured(LogFormat format, LogLevel least, LogLevel level, absl::string_view event, LogFields fields) {
  InitLogging("test", format, least);
  testing::internal::CaptureStderr();
  Log(level, event, fields);
  return testing::internal::GetCapturedStderr();
}

TEST(LogTest, JsonKeepsTypesAndEscapes) {
  const std::string line = Captured(LogFormat::kJson, LogLevel::kInfo, LogLevel::kInfo, "worker.loaded",
                                    {{"tensors", 290},
                                     {"big", std::numeric_limits<uint64_t>::max()},
                                     {"seconds", 0.25},
                                     {"nothing", std::numeric_limits<double>::quiet_NaN()},
                                     {"ok", true},
                                     {"name", "a \"b\"\n\x01"},
                                     {"bad_utf8", std::string("x\xff\xfey")},
                                     {"status", absl::NotFoundError("gone")}});
  ASSERT_EQ(std::count(line.begin(), line.end(), '\n'), 1) << line;
  const nlohmann::json json = nlohmann::json::parse(line);  // throws on what is no valid UTF-8
  EXPECT_EQ(json["program"], "test");
  EXPECT_EQ(json["level"], "info");
  EXPECT_EQ(json["event"], "worker.loaded");
  EXPECT_EQ(json["tensors"], 290);
  EXPECT_EQ(json["big"], std::numeric_limits<uint64_t>::max());
  EXPECT_EQ(json["seconds"], 0.25);
  EXPECT_EQ(json["nothing"], "nan");
  EXPECT_EQ(json["ok"], true);
  EXPECT_EQ(json["name"], "a \"b\"\n\x01");
  EXPECT_EQ(json["bad_utf8"], "x\xEF\xBF\xBD\xEF\xBF\xBDy");
  EXPECT_EQ(json["status"], "NOT_FOUND: gone");
}

TEST(LogTest, TextIsOneLine) {
  const std::string line = Captured(LogFormat::kText, LogLevel::kInfo, LogLevel::kWarning, "head.joined",
                                    {{"worker", "w-0"}, {"reason", "two\nlines"}, {"empty", ""}});
  const std::vector<std::string> parts = absl::StrSplit(line, absl::MaxSplits(' ', 1));
  EXPECT_EQ(parts.at(1), "warning test head.joined worker=w-0 reason=\"two\\nlines\" empty=\"\"\n");
}

TEST(LogTest, LessSevereLinesAreLeftOut) {
  EXPECT_EQ(Captured(LogFormat::kText, LogLevel::kWarning, LogLevel::kInfo, "quiet", {}), "");
  EXPECT_NE(Captured(LogFormat::kText, LogLevel::kWarning, LogLevel::kError, "loud", {}), "");
}

}  // namespace
}  // namespace slmmesh
