#include "worker/checkpoint/json_fields.h"

#include "absl/strings/str_cat.h"
#include "worker/checkpoint/testing/status_matchers.h"

namespace slmmesh {
namespace {

TEST(ParseJson, RefusesWhatIsNotJson) {
  EXPECT_REFUSED(ParseJson("f.json", ""), "f.json", "not valid JSON");
  EXPECT_REFUSED(ParseJson("f.json", "{\"a\": 1"), "f.json", "not valid JSON");
  EXPECT_REFUSED(ParseJson("f.json", "{} x"), "not valid JSON");
  EXPECT_REFUSED(ParseJson("f.json", "{\"a\": \"\xff\"}"), "not valid JSON");
  EXPECT_REFUSED(ParseJson("f.json", "{\"a\": NaN}"), "not valid JSON");
  EXPECT_REFUSED(ParseJson("f.json", "{\"a\": 1e999}"), "not valid JSON");
}

TEST(ParseJson, RefusesAKeyThatIsThereTwice) {
  EXPECT_REFUSED(ParseJson("f.json", R"({"a": {"b": 1, "b": 2}})"), "key `b` is there twice");
  ASSERT_OK(ParseJson("f.json", R"({"a": {"b": 1}, "c": {"b": 2}})"));
}

TEST(ParseJson, BoundsDepthAndCount) {
  EXPECT_REFUSED(ParseJson("f.json", std::string(65, '[') + std::string(65, ']')), "nested deeper");
  ASSERT_OK(ParseJson("f.json", std::string(64, '[') + std::string(64, ']')));
  EXPECT_REFUSED(ParseJson("f.json", "[1,2,3]", /*max_values=*/3), "too many values");
  ASSERT_OK(ParseJson("f.json", "[1,2,3]", /*max_values=*/4));
}

TEST(JsonFields, ErrorsNameFileFieldValueAndExpectation) {
  const Json json = Json::parse(R"({"text": "x", "big": 18446744073709551615, "half": 0.5, "none": null})");
  const absl::StatusOr<JsonFields> fields = JsonFields::Create("f.json", json);
  ASSERT_OK(fields);
  EXPECT_REFUSED(fields->Integer("text", 1, 9), "f.json", "`text`", "\"x\"", "an integer from 1 to 9");
  EXPECT_REFUSED(fields->Integer("big", 1, INT64_MAX), "18446744073709551615");
  EXPECT_REFUSED(fields->Integer("half", 0, 9), "0.5");
  EXPECT_REFUSED(fields->Integer("absent", 1, 9), "missing");
  EXPECT_REFUSED(fields->Number("half", 1, 9), "a number from 1 to 9");
  EXPECT_REFUSED(fields->String("half"), "a string");
  EXPECT_REFUSED(fields->BoolOr("half", false), "true or false");
  EXPECT_EQ(*fields->IntegerOr("none", 7, 0, 1), 7);
  EXPECT_TRUE(fields->Mentions("none"));
  EXPECT_FALSE(fields->Has("none"));
  EXPECT_REFUSED(JsonFields::Create("f.json", Json::array()), "expected an object");
}

TEST(ShowJson, IsShortAndPlain) {
  EXPECT_LT(ShowJson(Json(std::string(1000, 'a'))).size(), 80u);
  EXPECT_EQ(ShowJson(Json("a\nb")), "\"a\\nb\"");
}

}  // namespace
}  // namespace slmmesh
