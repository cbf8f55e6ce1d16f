#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "text/testing.h"
#include "text/text.h"

namespace slmmesh::text {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::SizeIs;

// Each tokenizer of testdata, against Python's tokenizers.
class TokenizerTest : public ::testing::TestWithParam<const char*> {
 protected:
  std::shared_ptr<const Tokenizer> tokenizer_ = LoadTokenizer(GetParam());
  Json expected_ = ReadJson("expected_tokens.json")[GetParam()];

  std::vector<uint32_t> Encode(absl::string_view text) { return tokenizer_->Encode(text, false).value(); }
  std::string Decode(const std::vector<uint32_t>& ids) { return tokenizer_->Decode(ids, false).value(); }
};

INSTANTIATE_TEST_SUITE_P(All, TokenizerTest, ::testing::Values("byte_level", "legacy", "metaspace"));

TEST_P(TokenizerTest, EncodesAsPythonDoesWithSpecialTokensNotObeyed) {
  ASSERT_THAT(expected_["encode"], SizeIs(::testing::Ge(30)));
  for (const Json& item : expected_["encode"]) {
    const std::string text = item["text"];
    SCOPED_TRACE(text);
    EXPECT_EQ(Encode(text), item["ids"].get<std::vector<uint32_t>>());
    EXPECT_EQ(tokenizer_->Encode(text, true).value(), item["ids_with_bos"].get<std::vector<uint32_t>>());
  }
}

TEST_P(TokenizerTest, DecodesAsPythonDoes) {
  ASSERT_THAT(expected_["decode"], SizeIs(::testing::Ge(60)));
  for (const Json& item : expected_["decode"]) {
    SCOPED_TRACE(item["ids"].dump());
    const auto ids = item["ids"].get<std::vector<uint32_t>>();
    EXPECT_EQ(Decode(ids), item["text"]);
    EXPECT_EQ(tokenizer_->Decode(ids, true).value(), item["text_without_special"]);
  }
}

TEST_P(TokenizerTest, NoTextOfAUserBecomesASpecialToken) {
  std::vector<std::string> specials;
  for (uint32_t id = 0; id < tokenizer_->vocab_size(); ++id) {
    if (tokenizer_->IsSpecial(id)) specials.push_back(tokenizer_->TokenBytes(id));
  }
  ASSERT_THAT(specials, SizeIs(3));
  for (const std::string& special : specials) {
    for (const std::string& text :
         {special, special + special, "a" + special + "\n", " " + special + " ", "\uFDD0" + special + "\uFDD0",
          special.substr(0, 1) + special, special.substr(0, 1) + "\uFDD0" + special.substr(1)}) {
      SCOPED_TRACE(text);
      const std::vector<uint32_t> ids = Encode(text);
      for (uint32_t id : ids) EXPECT_FALSE(tokenizer_->IsSpecial(id)) << id;
      EXPECT_EQ(Decode(ids), text[0] == ' ' && std::string(GetParam()) == "metaspace" ? text.substr(1) : text);
    }
  }
}

TEST_P(TokenizerTest, LooksTokensUp) {
  EXPECT_EQ(tokenizer_->vocab_size(), expected_["vocab_size"].get<uint32_t>());
  EXPECT_EQ(tokenizer_->TokenId("no such token"), absl::nullopt);
  EXPECT_EQ(tokenizer_->TokenBytes(1u << 30), "");
  EXPECT_FALSE(tokenizer_->IsSpecial(1u << 30));
  EXPECT_EQ(Decode({1u << 30}), "");
}

TEST_P(TokenizerTest, RefusesWhatIsNotUtf8) {
  const absl::StatusOr<std::vector<uint32_t>> ids = tokenizer_->Encode("ab\xC3", false);
  EXPECT_EQ(ids.status(), absl::InvalidArgumentError("text: not valid UTF-8 at byte 2"));
}

TEST_P(TokenizerTest, MayBeSharedByThreads) {
  const std::string text = expected_["encode"][5]["text"];
  const auto ids = expected_["encode"][5]["ids"].get<std::vector<uint32_t>>();
  std::vector<int> wrong(4);
  std::vector<std::thread> threads;
  for (int& count : wrong) {
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) count += Encode(text) != ids || Decode(ids) != text;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(wrong, Each(0));
}

TEST(ByteLevelTokenizerTest, KnowsTheBytesOfATokenAndWhichAreSpecial) {
  const auto tokenizer = LoadTokenizer("byte_level");
  EXPECT_EQ(tokenizer->TokenBytes(tokenizer->TokenId("Ġthe").value()), " the");
  EXPECT_EQ(tokenizer->TokenBytes(tokenizer->TokenId("Ċ").value()), "\n");
  EXPECT_EQ(tokenizer->TokenBytes(tokenizer->TokenId("Ã").value()), "\xC3");
  EXPECT_EQ(tokenizer->TokenBytes(tokenizer->TokenId("<|im_end|>").value()), "<|im_end|>");
  EXPECT_TRUE(tokenizer->IsSpecial(tokenizer->TokenId("<|im_end|>").value()));
  EXPECT_FALSE(tokenizer->IsSpecial(tokenizer->TokenId("<tool_call>").value()));
}

// An added token that is not special is a word like others: a user may write it.
TEST(ByteLevelTokenizerTest, EncodesAddedTokensThatAreNotSpecial) {
  const auto tokenizer = LoadTokenizer("byte_level");
  EXPECT_EQ(tokenizer->Encode("<tool_call>", false).value(),
            std::vector<uint32_t>{tokenizer->TokenId("<tool_call>").value()});
}

TEST(SentencePieceTokenizerTest, KnowsTheBytesOfAToken) {
  for (const char* name : {"legacy", "metaspace"}) {
    const auto tokenizer = LoadTokenizer(name);
    EXPECT_EQ(tokenizer->TokenBytes(tokenizer->TokenId("<0xE5>").value()), "\xE5");
    EXPECT_EQ(tokenizer->TokenBytes(tokenizer->TokenId("▁").value()), " ");
    EXPECT_EQ(tokenizer->TokenBytes(tokenizer->TokenId("</s>").value()), "</s>");
  }
}

// A Unigram model has its control tokens in its vocabulary, and would find them in any text.
TEST(UnigramTokenizerTest, DoesNotMergeTextIntoASpecialToken) {
  const auto tokenizer = Tokenizer::Create(R"json({"version": "1.0",
      "added_tokens": [{"id": 0, "content": "<unk>", "special": true, "normalized": false, "single_word": false,
                        "lstrip": false, "rstrip": false},
                       {"id": 1, "content": "</s>", "special": true, "normalized": true, "single_word": false,
                        "lstrip": false, "rstrip": false}],
      "normalizer": null, "pre_tokenizer": null, "post_processor": null, "decoder": {"type": "Fuse"},
      "model": {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["</s>", 0.0], ["<", -3.0], ["/", -3.0],
                ["s", -3.0], [">", -3.0], ["a", -2.0], ["/s", -2.5]]}})json");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->Encode("a</s>a</s>", false).value(), (std::vector<uint32_t>{6, 2, 7, 5, 6, 2, 7, 5}));
  EXPECT_EQ((*tokenizer)->Encode("a?", false).value(), (std::vector<uint32_t>{6, 0}));
}

TEST(TokenizerCreateTest, SaysWhatIsWrongInFewWords) {
  EXPECT_EQ(Tokenizer::Create("{").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Tokenizer::Create("\xFF").status(),
            absl::InvalidArgumentError("tokenizer.json: not valid UTF-8 at byte 0"));
  Json json = ReadJson("byte_level.json");
  json["decoder"] = {{"type", "CTC"}, {"pad_token", "p"}, {"word_delimiter_token", "|"}, {"cleanup", true}};
  EXPECT_THAT(Tokenizer::Create(json.dump()).status().message(), HasSubstr("decoder"));
  json["decoder"] = {{"type", std::string(100'000, 'x')}};
  EXPECT_FALSE(Tokenizer::Create(json.dump()).ok());
  EXPECT_THAT(std::string(Tokenizer::Create(json.dump()).status().message()), SizeIs(::testing::Lt(600)));
}

// Settings for training, which would cut a prompt in silence.
TEST(TokenizerCreateTest, IgnoresTruncationAndPadding) {
  Json json = ReadJson("byte_level.json");
  json["truncation"] = {{"direction", "Right"}, {"max_length", 2}, {"strategy", "LongestFirst"}, {"stride", 0}};
  json["padding"] = {{"strategy", {{"Fixed", 100}}},
                     {"direction", "Right"},
                     {"pad_to_multiple_of", nullptr},
                     {"pad_id", 0},
                     {"pad_type_id", 0},
                     {"pad_token", "p"}};
  const auto tokenizer = Tokenizer::Create(json.dump());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  const std::string text = "The capital of France is Paris.";
  EXPECT_EQ((*tokenizer)->Encode(text, false).value(), LoadTokenizer("byte_level")->Encode(text, false).value());
}

}  // namespace
}  // namespace slmmesh::text
