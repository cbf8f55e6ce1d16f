#include "router/output/output_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "router/openai/json_text.h"
#include "router/testing/byte_tokenizer.h"

namespace slmmesh {
namespace {

using testing::ElementsAre;

std::shared_ptr<const text::Tokenizer> Bytes() {
  static const auto* tokenizer =
      new std::shared_ptr<const text::Tokenizer>(text::Tokenizer::Create(ByteTokenizerJson()).value());
  return *tokenizer;
}

v1::TokenOutput Token(uint32_t id, v1::FinishReason finish = v1::FINISH_REASON_UNSPECIFIED) {
  v1::TokenOutput output;
  output.set_token_id(id);
  output.set_logprob(-1);
  output.set_finish_reason(finish);
  return output;
}

// Pushes the bytes of `text`, each in a delta of its own, until the end.
std::vector<ChoiceDelta> PushAll(OutputText* output, const std::string& text) {
  std::vector<ChoiceDelta> deltas;
  for (size_t i = 0; i < text.size(); ++i) {
    deltas.emplace_back();
    const auto finish = i + 1 == text.size() ? v1::FINISH_REASON_LENGTH : v1::FINISH_REASON_UNSPECIFIED;
    EXPECT_TRUE(output->Push(Token(static_cast<unsigned char>(text[i]), finish), &deltas.back()).ok());
    if (deltas.back().finish_reason != v1::FINISH_REASON_UNSPECIFIED) break;
  }
  return deltas;
}

std::string Join(const std::vector<ChoiceDelta>& deltas, size_t* logprobs) {
  std::string text;
  *logprobs = 0;
  for (const ChoiceDelta& delta : deltas) {
    text += delta.text;
    *logprobs += delta.logprobs.size();
    EXPECT_TRUE(IsValidUtf8(delta.text));
  }
  return text;
}

TEST(OutputText, CutsAtStopStringsWithTheirTokens) {
  OutputText output(Bytes(), {{"stop"}, StopFinder::Include::kNo, true, 0});
  size_t logprobs = 0;
  const auto deltas = PushAll(&output, "é!stopped");
  EXPECT_EQ(Join(deltas, &logprobs), "é!");
  EXPECT_EQ(logprobs, 3u) << "two halves and !";
  EXPECT_EQ(deltas.back().finish_reason, v1::FINISH_REASON_STOP);
  EXPECT_EQ(deltas.size(), 7u);
}

TEST(OutputText, KeepsTheStopStringWhenAsked) {
  OutputText output(Bytes(), {{"st"}, StopFinder::Include::kYes, true, 0});
  size_t logprobs = 0;
  EXPECT_EQ(Join(PushAll(&output, "a star"), &logprobs), "a st");
  EXPECT_EQ(logprobs, 4u);
}

TEST(OutputText, HeldTextComesAtTheEnd) {
  OutputText output(Bytes(), {{"stop"}, StopFinder::Include::kNo, true, 0});
  size_t logprobs = 0;
  const auto deltas = PushAll(&output, "a sto");
  EXPECT_EQ(Join(deltas, &logprobs), "a sto");
  EXPECT_EQ(logprobs, 5u);
  EXPECT_EQ(deltas.back().text, "sto");
  EXPECT_EQ(deltas.back().finish_reason, v1::FINISH_REASON_LENGTH);
}

TEST(OutputText, OffsetsCountCharacters) {
  OutputText output(Bytes(), {{}, StopFinder::Include::kNo, true, /*first_character=*/10});
  std::vector<size_t> offsets;
  for (const ChoiceDelta& delta : PushAll(&output, "é€x")) {
    for (const TokenLogprobText& token : delta.logprobs) offsets.push_back(token.text_offset);
  }
  EXPECT_THAT(offsets, ElementsAre(10, 10, 11, 11, 11, 12));
}

TEST(OutputText, StopTokensAreNoText) {
  OutputText output(Bytes(), {});
  ChoiceDelta delta;
  ASSERT_TRUE(output.Push(Token('a'), &delta).ok());
  v1::TokenOutput end = Token('!', v1::FINISH_REASON_STOP);
  end.set_is_stop_token(true);
  ASSERT_TRUE(output.Push(end, &delta).ok());
  EXPECT_EQ(delta.text, "a");
  EXPECT_THAT(delta.token_ids, ElementsAre('a', '!'));
  EXPECT_EQ(delta.logprobs.size(), 1u);
}

TEST(OutputText, SpecialTokensAreSkippedUnlessAskedFor) {
  for (bool skip : {true, false}) {
    OutputText output(Bytes(), {{}, StopFinder::Include::kNo, skip, 0});
    ChoiceDelta delta;
    ASSERT_TRUE(output.Push(Token(kImStart), &delta).ok());
    ASSERT_TRUE(output.Push(Token('a', v1::FINISH_REASON_LENGTH), &delta).ok());
    EXPECT_EQ(delta.text, skip ? "a" : "<|im_start|>a");
  }
}

TEST(OutputText, NeverHalfACharacter) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  const std::string characters[] = {"a", "é", "€", "😀", "stop"};
  for (int round = 0; round < 300; ++round) {
    std::string text;
    for (int i = 1 + random() % 12; i > 0; --i) text += characters[random() % 4];
    OutputText output(Bytes(), {{"é€"}, StopFinder::Include::kNo, true, 0});
    size_t logprobs = 0;
    const std::string want = text.substr(0, text.find("é€"));
    ASSERT_EQ(Join(PushAll(&output, text), &logprobs), want) << text;
    ASSERT_EQ(logprobs, want.size());
  }
}

TEST(OutputText, BrokenBytesBecomeReplacements) {
  OutputText output(Bytes(), {});
  size_t logprobs = 0;
  EXPECT_EQ(Join(PushAll(&output, "a\xe2\x82"), &logprobs), "a\xef\xbf\xbd");
  EXPECT_EQ(logprobs, 3u);
}

}  // namespace
}  // namespace slmmesh
