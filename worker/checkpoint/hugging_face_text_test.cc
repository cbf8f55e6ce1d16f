#include "worker/checkpoint/hugging_face_text.h"

#include <cmath>

#include "common/temporary_folder.h"
#include "worker/checkpoint/testing/status_matchers.h"

namespace slmmesh {
namespace {

absl::StatusOr<HuggingFaceText> Read(const TemporaryFolder& folder, const char* config = "{}") {
  const Json json = Json::parse(config);
  return ReadHuggingFaceText(folder.path(), *JsonFields::Create("config.json", json), /*vocab_size=*/100);
}

TEST(HuggingFaceText, AFolderMayHaveNone) {
  const TemporaryFolder folder;
  const absl::StatusOr<HuggingFaceText> result = Read(folder);
  ASSERT_OK(result);
  EXPECT_EQ(result->text.tokenizer_json, "");
  EXPECT_EQ(result->text.chat_template, "");
  EXPECT_TRUE(result->text.eos_token_ids.empty());
  EXPECT_TRUE(std::isnan(result->generation.temperature));
  EXPECT_EQ(result->generation.top_k, -1);
}

TEST(HuggingFaceText, ReadsAllFiles) {
  const TemporaryFolder folder;
  folder.Write("tokenizer.json", "{\"version\": \"1.0\"}");
  folder.Write("tokenizer_config.json",
               R"({"bos_token": {"content": "<s>", "lstrip": false}, "eos_token": "</s>", "chat_template": "T"})");
  folder.Write("generation_config.json", R"({"eos_token_id": [2, 7], "temperature": 0.6, "top_p": 0.9, "top_k": 20,
                                             "min_p": 0.05, "repetition_penalty": 1.1, "do_sample": true})");
  const absl::StatusOr<HuggingFaceText> result = Read(folder, R"({"eos_token_id": 5})");
  ASSERT_OK(result);
  EXPECT_EQ(result->text.tokenizer_json, "{\"version\": \"1.0\"}");
  EXPECT_EQ(result->text.bos_token, "<s>");
  EXPECT_EQ(result->text.eos_token, "</s>");
  EXPECT_EQ(result->text.chat_template, "T");
  EXPECT_THAT(result->text.eos_token_ids, testing::ElementsAre(2u, 7u));
  EXPECT_EQ(result->generation.temperature, 0.6f);
  EXPECT_EQ(result->generation.top_p, 0.9f);
  EXPECT_EQ(result->generation.top_k, 20);
  EXPECT_EQ(result->generation.min_p, 0.05f);
  EXPECT_EQ(result->generation.repetition_penalty, 1.1f);
}

TEST(HuggingFaceText, EndIdsFallBackToTheConfig) {
  const TemporaryFolder folder;
  folder.Write("generation_config.json", R"({"temperature": null})");
  EXPECT_THAT(Read(folder, R"({"eos_token_id": 5})")->text.eos_token_ids, testing::ElementsAre(5u));
}

TEST(HuggingFaceText, ChatTemplateByNameOrFile) {
  const TemporaryFolder folder;
  folder.Write("tokenizer_config.json", R"({"bos_token": null, "chat_template": [
      {"name": "tool_use", "template": "X"}, {"name": "default", "template": "D"}]})");
  EXPECT_EQ(Read(folder)->text.chat_template, "D");
  folder.Write("chat_template.jinja", "J");
  EXPECT_EQ(Read(folder)->text.chat_template, "J") << "a file of its own wins";
}

TEST(HuggingFaceText, OldFoldersKeepSpecialTokensApart) {
  const TemporaryFolder folder;
  folder.Write("special_tokens_map.json", R"({"bos_token": "<s>", "eos_token": {"content": "</s>"}})");
  const absl::StatusOr<HuggingFaceText> result = Read(folder);
  ASSERT_OK(result);
  EXPECT_EQ(result->text.bos_token, "<s>");
  EXPECT_EQ(result->text.eos_token, "</s>");
}

TEST(HuggingFaceText, RefusesByName) {
  const std::pair<const char*, const char*> kBad[] = {
      {"tokenizer_config.json", R"({"bos_token": 1})"},
      {"tokenizer_config.json", R"({"chat_template": [{"name": "a", "template": "X"}]})"},
      {"tokenizer_config.json", R"({"chat_template": 3})"},
      {"tokenizer_config.json", "[]"},
      {"generation_config.json", R"({"eos_token_id": 100})"},
      {"generation_config.json", R"({"eos_token_id": -1})"},
      {"generation_config.json", R"({"eos_token_id": "2"})"},
      {"generation_config.json", R"({"temperature": -0.5})"},
      {"generation_config.json", R"({"top_p": 2})"},
      {"generation_config.json", "not json"},
  };
  for (const auto& [name, content] : kBad) {
    SCOPED_TRACE(content);
    const TemporaryFolder folder;
    folder.Write(name, content);
    EXPECT_REFUSED(Read(folder), name);
  }
}

}  // namespace
}  // namespace slmmesh
