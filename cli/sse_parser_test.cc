#include "cli/sse_parser.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <iostream>
#include <vector>

#include "tests/fuzz/mutator.h"

namespace slmmesh {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> Parse(const std::string& bytes, size_t piece) {
  std::vector<std::string> events;
  SseParser parser([&](const std::string& data) { events.push_back(data); });
  for (size_t i = 0; i < bytes.size(); i += piece) EXPECT_TRUE(parser.Feed(bytes.substr(i, piece)).ok());
  return events;
}

TEST(SseParser, EventsSurviveAnyCutAndAnyLineEnd) {
  const std::string stream =
      ": comment\ndata: one\n\ndata:two\r\ndata: more\r\n\r\nevent: x\ndata: [DONE]\n\ndata: unfinished\n";
  for (size_t piece = 1; piece <= stream.size(); ++piece) {
    EXPECT_THAT(Parse(stream, piece), ElementsAre("one", "two\nmore", "[DONE]")) << piece;
  }
}

TEST(SseParser, AnEventIsBounded) {
  SseParser parser([](const std::string&) {});
  absl::Status status;
  const std::string megabyte(1 << 20, 'x');
  for (int i = 0; i < 9 && status.ok(); ++i) status = parser.Feed(megabyte);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
}

TEST(SseParser, DamagedStreamsGiveTheSameEventsHoweverTheyAreCut) {
  constexpr uint64_t kSeed = 7;
  std::cout << "seed " << kSeed << "\n";
  Mutator mutator(kSeed);
  for (int i = 0; i < 2000; ++i) {
    const std::string bytes = mutator.Mutate("data: {\"a\": 1}\n\nid: 3\r\ndata: x\rdata: y\n\n\n");
    EXPECT_EQ(Parse(bytes, 1), Parse(bytes, bytes.size() + 1));
  }
}

}  // namespace
}  // namespace slmmesh
