#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "text/testing.h"
#include "text/text.h"

namespace slmmesh::text {
namespace {

bool IsUtf8(const std::string& text) {
  // nlohmann's strict parser of strings is the judge.
  return Json::accept(Json(text).dump(-1, ' ', false, Json::error_handler_t::ignore)) &&
         Json(text).dump(-1, ' ', false, Json::error_handler_t::ignore) ==
             Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::vector<std::string> Pieces(DecodeStream& stream, const std::vector<uint32_t>& ids) {
  std::vector<std::string> pieces;
  for (uint32_t id : ids) pieces.push_back(stream.Push(id).value());
  pieces.push_back(stream.Finish().value());
  return pieces;
}

std::string Join(const std::vector<std::string>& pieces) {
  std::string text;
  for (const std::string& piece : pieces) text += piece;
  return text;
}

class DecodeStreamTest : public ::testing::TestWithParam<const char*> {
 protected:
  std::shared_ptr<const Tokenizer> tokenizer_ = LoadTokenizer(GetParam());
  Json expected_ = ReadJson("expected_tokens.json")[GetParam()];
};

INSTANTIATE_TEST_SUITE_P(All, DecodeStreamTest, ::testing::Values("byte_level", "legacy", "metaspace"));

TEST_P(DecodeStreamTest, SaysWhatPythonSaysOfTheWhole) {
  for (const Json& item : expected_["decode"]) {
    SCOPED_TRACE(item["ids"].dump());
    DecodeStream all(tokenizer_, false);
    EXPECT_EQ(Join(Pieces(all, item["ids"])), item["text"]);
    DecodeStream text(tokenizer_, true);
    EXPECT_EQ(Join(Pieces(text, item["ids"])), item["text_without_special"]);
  }
}

// Any ids: unknown ones, special ones, bytes that are no characters.
TEST_P(DecodeStreamTest, PiecesAreWholeCharactersAndAddUpToDecode) {
  const uint32_t seed = 20240607;
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  std::uniform_int_distribution<uint32_t> any_id(0, tokenizer_->vocab_size() + 2);
  std::uniform_int_distribution<uint32_t> low_id(0, 260);  // bytes, in all three
  for (int round = 0; round < 2000; ++round) {
    std::vector<uint32_t> ids(random() % 24);
    for (uint32_t& id : ids) id = random() % 2 ? any_id(random) : low_id(random);
    const bool skip = round % 2;
    DecodeStream stream(tokenizer_, skip);
    const std::vector<std::string> pieces = Pieces(stream, ids);
    for (const std::string& piece : pieces) ASSERT_TRUE(IsUtf8(piece)) << Json(ids).dump();
    ASSERT_EQ(Join(pieces), tokenizer_->Decode(ids, skip).value()) << Json(ids).dump();
  }
}

TEST_P(DecodeStreamTest, HoldsBackNoMoreThanTheBeginningOfACharacter) {
  DecodeStream stream(tokenizer_, false);
  const std::vector<uint32_t> ids = tokenizer_->Encode("x😀", false).value();
  std::string text;
  for (size_t i = 0; i + 1 < ids.size(); ++i) text += stream.Push(ids[i]).value();
  EXPECT_EQ(text, "x");
  EXPECT_EQ(stream.Push(ids.back()).value(), "😀");
  EXPECT_EQ(stream.Finish().value(), "");
}

TEST_P(DecodeStreamTest, OutlivesMovesAndItsTokenizersOtherOwners) {
  std::vector<uint32_t> ids = tokenizer_->Encode("The mesh", false).value();
  DecodeStream first(tokenizer_, false);
  tokenizer_.reset();
  std::string text = first.Push(ids[0]).value();
  DecodeStream second = std::move(first);
  for (size_t i = 1; i < ids.size(); ++i) text += second.Push(ids[i]).value();
  EXPECT_EQ(text + second.Finish().value(), "The mesh");
}

TEST_P(DecodeStreamTest, StartsAnewAfterFinish) {
  const std::vector<uint32_t> ids = tokenizer_->Encode("The mesh", false).value();
  DecodeStream stream(tokenizer_, false);
  EXPECT_EQ(Join(Pieces(stream, ids)), "The mesh");
  EXPECT_EQ(Join(Pieces(stream, ids)), "The mesh");
}

TEST(ByteLevelDecodeStreamTest, WritesReplacementCharactersForBrokenOnes) {
  const auto tokenizer = LoadTokenizer("byte_level");
  const uint32_t c3 = tokenizer->TokenId("Ã").value(), a = tokenizer->TokenId("a").value();
  DecodeStream stream(tokenizer, false);
  EXPECT_EQ(stream.Push(c3).value(), "");
  EXPECT_EQ(stream.Push(a).value(), "\uFFFDa");
  EXPECT_EQ(stream.Push(c3).value(), "");
  EXPECT_EQ(stream.Finish().value(), "\uFFFD");
}

TEST(SentencePieceDecodeStreamTest, DropsTheSpaceThatTheTokenizerPutInFrontAndNoOther) {
  for (const char* name : {"legacy", "metaspace"}) {
    const auto tokenizer = LoadTokenizer(name);
    const uint32_t space = tokenizer->TokenId("▁").value(), a = tokenizer->TokenId("a").value();
    DecodeStream stream(tokenizer, true);
    EXPECT_EQ(stream.Push(1).value(), "");  // <s>, skipped
    EXPECT_EQ(stream.Push(space).value(), "");
    EXPECT_EQ(stream.Push(space).value(), " ");
    EXPECT_EQ(stream.Push(a).value(), "a");
    EXPECT_EQ(stream.Push(space).value(), " ");
  }
}

}  // namespace
}  // namespace slmmesh::text
