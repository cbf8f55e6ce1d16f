#include "worker/checkpoint/gguf_tokenizer.h"

#include <algorithm>
#include <functional>

#include "worker/checkpoint/gguf_vocabulary.h"
#include "worker/checkpoint/testing/gguf_builder.h"
#include "worker/checkpoint/testing/random_model.h"
#include "worker/checkpoint/testing/status_matchers.h"

namespace slmmesh {
namespace {

absl::StatusOr<TextAssets> Text(const GgufBuilder& builder, int64_t vocab_size = 40) {
  const std::string file = builder.Build();
  const absl::StatusOr<GgufFile> parsed =
      ParseGguf("f.gguf", {reinterpret_cast<const uint8_t*>(file.data()), file.size()});
  if (!parsed.ok()) return parsed.status();
  return ReadGgufText(parsed->metadata, vocab_size);
}

GgufBuilder TinyByteLevel() {
  GgufBuilder builder;
  AddTinyVocabulary(12, builder);
  return builder;
}

TEST(GgufTokenizer, ByteLevelModel) {
  const absl::StatusOr<TextAssets> text = Text(TinyByteLevel());
  ASSERT_OK(text);
  EXPECT_EQ(text->bos_token, "<|im_start|>");
  EXPECT_EQ(text->eos_token, "<|im_end|>");
  EXPECT_THAT(text->eos_token_ids, testing::ElementsAre(2u));
  EXPECT_EQ(text->chat_template, "{{ messages[0].content }}");

  const Json json = Json::parse(text->tokenizer_json);
  EXPECT_EQ(json["model"]["type"], "BPE");
  EXPECT_EQ(json["model"]["vocab"].size(), 12u);
  EXPECT_EQ(json["model"]["vocab"]["abc"], 9);
  EXPECT_EQ(json["model"]["merges"], Json::parse(R"([["a", "b"], ["ab", "c"], ["Ġ", "a"]])"));
  EXPECT_EQ(json["pre_tokenizer"]["pretokenizers"][0], Json::parse(R"({"type": "Digits", "individual_digits": true})"));
  EXPECT_EQ(json["pre_tokenizer"]["pretokenizers"][1]["use_regex"], true);
  EXPECT_EQ(json["decoder"]["type"], "ByteLevel");
  EXPECT_TRUE(json["post_processor"].is_null()) << "add_bos_token is false for this pre-tokenizer";
  ASSERT_EQ(json["added_tokens"].size(), 4u);
  EXPECT_EQ(json["added_tokens"][1]["content"], "<|im_start|>");
  EXPECT_EQ(json["added_tokens"][1]["special"], true);
  EXPECT_EQ(json["added_tokens"][3]["content"], "<tool>");
  EXPECT_EQ(json["added_tokens"][3]["special"], false);
}

TEST(GgufTokenizer, AddsBosAndEosWhenTold) {
  GgufBuilder builder = TinyByteLevel();
  builder.AddBool("tokenizer.ggml.add_bos_token", true).AddBool("tokenizer.ggml.add_eos_token", true);
  const Json post = Json::parse(Text(builder)->tokenizer_json)["post_processor"];
  EXPECT_EQ(post["single"], Json::parse(R"([{"SpecialToken": {"id": "<|im_start|>", "type_id": 0}},
                                            {"Sequence": {"id": "A", "type_id": 0}},
                                            {"SpecialToken": {"id": "<|im_end|>", "type_id": 0}}])"));
  EXPECT_EQ(post["pair"].size(), 6u);
  EXPECT_EQ(post["special_tokens"]["<|im_end|>"]["ids"], Json::parse("[2]"));
}

TEST(GgufTokenizer, EndOfTurnEndsToo) {
  GgufBuilder builder = TinyByteLevel();
  builder.AddInteger("tokenizer.ggml.eot_token_id", 0).AddInteger("tokenizer.ggml.eom_token_id", 2);
  EXPECT_THAT(Text(builder)->eos_token_ids, testing::ElementsAre(2u, 0u));
}

TEST(GgufTokenizer, PreTokenizersByName) {
  const auto with_pre = [](const char* pre) {
    return Text(GgufBuilder()
                    .AddString("tokenizer.ggml.model", "gpt2")
                    .AddString("tokenizer.ggml.pre", pre)
                    .AddStrings("tokenizer.ggml.tokens", {"a", "b", "ab"})
                    .AddInteger("tokenizer.ggml.bos_token_id", 0)
                    .AddStrings("tokenizer.ggml.merges", {"a b"}));
  };
  for (const char* pre :
       {"gpt-2", "default", "smollm", "starcoder", "llama-bpe", "llama3", "llama-v3", "qwen2", "tekken"}) {
    SCOPED_TRACE(pre);
    ASSERT_OK(with_pre(pre));
  }
  const Json llama = Json::parse(with_pre("llama-bpe")->tokenizer_json);
  EXPECT_EQ(llama["model"]["ignore_merges"], true);
  EXPECT_EQ(llama["post_processor"]["single"].size(), 2u) << "Llama 3 begins with BOS";
  EXPECT_EQ(llama["pre_tokenizer"]["pretokenizers"][1]["use_regex"], false);
  const Json qwen = Json::parse(with_pre("qwen2")->tokenizer_json);
  EXPECT_EQ(qwen["normalizer"]["type"], "NFC");
  EXPECT_EQ(qwen["model"]["ignore_merges"], false);
  EXPECT_EQ(Json::parse(with_pre("gpt-2")->tokenizer_json)["pre_tokenizer"]["type"], "ByteLevel");
  EXPECT_REFUSED(with_pre("unheard-of"), "tokenizer.ggml.pre", "unheard-of", "smollm");
}

TEST(GgufTokenizer, SentencePieceScoresBecomeMerges) {
  const absl::StatusOr<TextAssets> text =
      Text(GgufBuilder()
               .AddString("tokenizer.ggml.model", "llama")
               .AddStrings("tokenizer.ggml.tokens",
                           {"<unk>", "<s>", "</s>", "<0x0A>", "a", "b", "ab", "aab", "▁", "▁a", "é", "aé"})
               .AddFloats("tokenizer.ggml.scores", {0, 0, 0, 0, -9, -9, -3, -5, -9, -4, -9, -1})
               .AddIntegers("tokenizer.ggml.token_type", {2, 3, 3, 6, 1, 1, 1, 1, 1, 1, 1, 1})
               .AddInteger("tokenizer.ggml.bos_token_id", 1)
               .AddInteger("tokenizer.ggml.eos_token_id", 2)
               .AddInteger("tokenizer.ggml.unknown_token_id", 0));
  ASSERT_OK(text);
  const Json json = Json::parse(text->tokenizer_json);
  EXPECT_EQ(json["model"]["merges"], Json::parse(R"([["a", "é"], ["a", "b"], ["▁", "a"], ["a", "ab"]])"));
  EXPECT_EQ(json["model"]["byte_fallback"], true);
  EXPECT_EQ(json["model"]["unk_token"], "<unk>");
  EXPECT_EQ(json["normalizer"]["normalizers"][0]["prepend"], "▁");
  EXPECT_EQ(json["decoder"]["decoders"].size(), 4u);
  EXPECT_EQ(json["post_processor"]["single"].size(), 2u) << "SentencePiece begins with BOS by default";
  EXPECT_EQ(json["added_tokens"].size(), 3u);
}

TEST(GgufTokenizer, SpacePrefixCanBeOff) {
  const absl::StatusOr<TextAssets> text = Text(GgufBuilder()
                                                   .AddString("tokenizer.ggml.model", "llama")
                                                   .AddBool("tokenizer.ggml.add_space_prefix", false)
                                                   .AddStrings("tokenizer.ggml.tokens", {"a"})
                                                   .AddFloats("tokenizer.ggml.scores", {0}));
  ASSERT_OK(text);
  const Json json = Json::parse(text->tokenizer_json);
  EXPECT_EQ(json["normalizer"]["normalizers"].size(), 1u);
  EXPECT_EQ(json["decoder"]["decoders"].size(), 3u);
}

TEST(GgufTokenizer, RefusesVocabulariesThatContradictThemselves) {
  const auto gpt2 = [](const std::vector<std::string>& tokens, const std::vector<std::string>& merges) {
    GgufBuilder builder;
    builder.AddString("tokenizer.ggml.model", "gpt2")
        .AddString("tokenizer.ggml.pre", "gpt-2")
        .AddStrings("tokenizer.ggml.tokens", tokens)
        .AddStrings("tokenizer.ggml.merges", merges);
    return builder;
  };
  ASSERT_OK(Text(gpt2({"a", "b", "ab"}, {"a b"})));
  EXPECT_REFUSED(Text(gpt2({"a", "a"}, {})), "token 1", "each token once");
  EXPECT_REFUSED(Text(gpt2({"a", "\xff"}, {})), "token 1", "valid UTF-8");
  EXPECT_REFUSED(Text(gpt2({"a", "b"}, {"a b"})), "merge 0", "a b");
  EXPECT_REFUSED(Text(gpt2({"a", "b"}, {"a"})), "merge 0");
  EXPECT_REFUSED(Text(gpt2({"a", "b"}, {""})), "merge 0");
  EXPECT_REFUSED(Text(gpt2({}, {})), "tokenizer.ggml.tokens");
  EXPECT_REFUSED(Text(gpt2({"a", "b"}, {}), /*vocab_size=*/1), "1 to 1 tokens");
  EXPECT_REFUSED(Text(gpt2({"a"}, {}).AddInteger("tokenizer.ggml.eos_token_id", 1)), "eos_token_id", "below 1");
  EXPECT_REFUSED(Text(gpt2({"a"}, {}).AddIntegers("tokenizer.ggml.token_type", {1, 1})), "token_type");
  EXPECT_REFUSED(Text(gpt2({"a"}, {}).AddIntegers("tokenizer.ggml.token_type", {9})), "token_type");
  EXPECT_REFUSED(Text(gpt2({"a"}, {}).AddString("tokenizer.chat_template", "\xff")), "chat_template");
  EXPECT_REFUSED(Text(GgufBuilder().AddString("tokenizer.ggml.model", "t5").AddStrings("tokenizer.ggml.tokens", {"a"})),
                 "tokenizer.ggml.model", "t5");
  EXPECT_REFUSED(
      Text(GgufBuilder().AddString("tokenizer.ggml.model", "llama").AddStrings("tokenizer.ggml.tokens", {"a"})),
      "tokenizer.ggml.scores", "missing");
}

TEST(IsValidUtf8, FollowsTheStandard) {
  for (const char* good : {"", "a", "é", "\u0120", "\uffff", "\U0010ffff"}) EXPECT_TRUE(IsValidUtf8(good)) << good;
  for (const char* bad : {"\x80", "\xc0\x80", "\xc1\xbf", "\xe0\x80\x80", "\xed\xa0\x80", "\xf0\x80\x80\x80",
                          "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xc3", "a\xe2\x82", "\xff"}) {
    EXPECT_FALSE(IsValidUtf8(bad));
  }
}

}  // namespace
}  // namespace slmmesh
