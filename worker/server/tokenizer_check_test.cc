#include "worker/server/tokenizer_check.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace slmmesh {
namespace {

constexpr char kBpe[] =
    R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1}}, "added_tokens": [{"id": 2, "content": "<s>"}]})";

TEST(TokenizerCheck, OneTokenizerWrittenInTwoWays) {
  EXPECT_TRUE(CheckSameTokenizer(kBpe, kBpe).ok());
  EXPECT_TRUE(CheckSameTokenizer(kBpe, R"({"model": {"vocab": {"b": 1, "<s>": 2, "a": 0}}})").ok());
  EXPECT_TRUE(CheckSameTokenizer(kBpe, R"({"model": {"vocab": [["a", -1.5], ["b", -2]]}})").ok());
  EXPECT_TRUE(CheckSameTokenizer(kBpe, R"({"model": {"vocab": {"a": 0, "padding": 3}}})").ok());
  EXPECT_TRUE(CheckSameTokenizer("", "").ok());
}

TEST(TokenizerCheck, AnotherTokenizerIsRefused) {
  const absl::Status status = CheckSameTokenizer(kBpe, R"({"model": {"vocab": {"a": 0, "c": 1}}})");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("token 1"));
  for (const char* unreadable : {"", "{", "[]", "{}", R"({"model": {"vocab": 7}})", R"({"model": {"vocab": [7]}})"}) {
    EXPECT_FALSE(CheckSameTokenizer(kBpe, unreadable).ok()) << unreadable;
  }
}

}  // namespace
}  // namespace slmmesh
