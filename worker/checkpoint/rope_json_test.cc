#include "worker/checkpoint/rope_json.h"

#include "worker/checkpoint/testing/status_matchers.h"

namespace slmmesh {
namespace {

absl::StatusOr<RopeConfig> Read(const char* text, int64_t max_positions = 4096) {
  const Json json = Json::parse(text);
  return ReadRopeConfig(*JsonFields::Create("config.json", json), max_positions);
}

TEST(RopeJson, BothSpellingsOfLlama3) {
  const char* kSettings = R"("factor": 8.0, "low_freq_factor": 1.5, "high_freq_factor": 4.5,
                             "original_max_position_embeddings": 512)";
  const std::string old_text =
      std::string(R"({"rope_theta": 500000.0, "rope_scaling": {"rope_type": "llama3", )") + kSettings + "}}";
  const std::string new_text =
      std::string(R"({"rope_parameters": {"rope_type": "llama3", "rope_theta": 500000.0, )") + kSettings + "}}";
  for (const std::string& text : {old_text, new_text}) {
    SCOPED_TRACE(text);
    const absl::StatusOr<RopeConfig> rope = Read(text.c_str());
    ASSERT_OK(rope);
    EXPECT_EQ(rope->type, RopeType::kLlama3);
    EXPECT_EQ(rope->theta, 500000.0);
    EXPECT_EQ(rope->factor, 8.0);
    EXPECT_EQ(rope->low_freq_factor, 1.5);
    EXPECT_EQ(rope->high_freq_factor, 4.5);
    EXPECT_EQ(rope->original_max_positions, 512);
  }
}

TEST(RopeJson, OldNameOfTheType) {
  const absl::StatusOr<RopeConfig> linear = Read(R"({"rope_scaling": {"type": "linear", "factor": 2}})");
  ASSERT_OK(linear);
  EXPECT_EQ(linear->type, RopeType::kLinear);
  EXPECT_EQ(linear->factor, 2.0);
  EXPECT_EQ(linear->theta, 10000.0);
  EXPECT_EQ(Read(R"({"rope_scaling": {"type": "dynamic", "factor": 2.0}})")->type, RopeType::kDynamic);
}

TEST(RopeJson, Yarn) {
  const absl::StatusOr<RopeConfig> rope = Read(R"({"rope_theta": 1000000, "rope_scaling": {"type": "yarn",
      "factor": 4.0, "original_max_position_embeddings": 1024, "beta_fast": 16, "beta_slow": 2, "mscale": 0.7,
      "mscale_all_dim": 0.5, "attention_factor": 1.25, "truncate": false}})");
  ASSERT_OK(rope);
  EXPECT_EQ(rope->type, RopeType::kYarn);
  EXPECT_EQ(rope->theta, 1e6);
  EXPECT_EQ(rope->original_max_positions, 1024);
  EXPECT_EQ(rope->beta_fast, 16);
  EXPECT_EQ(rope->beta_slow, 2);
  EXPECT_EQ(rope->mscale, 0.7);
  EXPECT_EQ(rope->mscale_all_dim, 0.5);
  EXPECT_EQ(rope->attention_factor, 1.25);
  EXPECT_FALSE(rope->truncate);

  const absl::StatusOr<RopeConfig> defaults = Read(R"({"rope_parameters": {"rope_type": "yarn",
      "original_max_position_embeddings": 1024}})");
  ASSERT_OK(defaults);
  EXPECT_EQ(defaults->factor, 4.0) << "max_position_embeddings over the original";
  EXPECT_EQ(defaults->beta_fast, 32);
  EXPECT_EQ(defaults->beta_slow, 1);
  EXPECT_EQ(defaults->attention_factor, 0);
  EXPECT_TRUE(defaults->truncate);
}

TEST(RopeJson, ParametersPerLayerTypeMustAgree) {
  const absl::StatusOr<RopeConfig> equal = Read(R"({"rope_parameters": {
      "full_attention": {"rope_type": "default", "rope_theta": 7000.0},
      "sliding_attention": {"rope_type": "default", "rope_theta": 7000.0}}})");
  ASSERT_OK(equal);
  EXPECT_EQ(equal->theta, 7000.0);
  EXPECT_EQ(Read(R"({"rope_parameters": {"full_attention": {"rope_theta": 7000.0}}})")->theta, 7000.0);
  EXPECT_REFUSED(Read(R"({"rope_parameters": {"full_attention": {"rope_theta": 7000.0},
                                              "sliding_attention": {"rope_theta": 8000.0}}})"),
                 "rope_parameters", "every layer type");
}

TEST(RopeJson, RefusesByName) {
  EXPECT_REFUSED(Read(R"({"rope_scaling": {"type": "longrope", "factor": 2}})"), "longrope",
                 "default, linear, dynamic, llama3, yarn");
  EXPECT_REFUSED(Read(R"({"rope_scaling": {"type": "linear"}})"), "factor", "missing");
  EXPECT_REFUSED(Read(R"({"rope_scaling": {"type": "linear", "factor": 0.5}})"), "factor", "0.5");
  EXPECT_REFUSED(Read(R"({"rope_scaling": {"type": "llama3", "factor": 8}})"), "low_freq_factor");
  EXPECT_REFUSED(Read(R"({"rope_scaling": {"type": "llama3", "factor": 8, "low_freq_factor": 4,
                                           "high_freq_factor": 4}})"),
                 "high_freq_factor");
  EXPECT_REFUSED(Read(R"({"rope_parameters": {"partial_rotary_factor": 0.5}})"), "partial_rotary_factor");
  EXPECT_REFUSED(Read(R"({"rope_parameters": {"mrope_section": [1, 2]}})"), "mrope_section");
  EXPECT_REFUSED(Read(R"({"rope_scaling": {"type": "yarn", "factor": 2, "beta_fast": 1, "beta_slow": 3}})"),
                 "beta_fast");
}

}  // namespace
}  // namespace slmmesh
