#include "worker/checkpoint/safetensors.h"

#include "worker/checkpoint/testing/safetensors_builder.h"
#include "worker/checkpoint/testing/status_matchers.h"

namespace slmmesh {
namespace {

absl::StatusOr<std::vector<TensorView>> Parse(const std::string& file) {
  return ParseSafetensors("f.safetensors", {reinterpret_cast<const uint8_t*>(file.data()), file.size()});
}

TEST(Safetensors, ReadsEveryType) {
  SafetensorsBuilder builder;
  builder.Add("a", TensorType::kF32, {2, 3}, {1, 2, 3, 4, 5, 6})
      .Add("b", TensorType::kBF16, {4}, {1, -2, 0.5, 0})
      .Add("c", TensorType::kF16, {1, 2}, {-1.5, 1024});
  const std::string file = builder.Build();
  const absl::StatusOr<std::vector<TensorView>> tensors = Parse(file);
  ASSERT_OK(tensors);
  ASSERT_EQ(tensors->size(), 3u);
  for (const TensorView& tensor : *tensors) {
    std::vector<float> values(static_cast<size_t>(tensor.rows() * tensor.columns()));
    ReadTensor(tensor, 0, tensor.rows(), 0, tensor.columns(), values.data());
    if (tensor.name == "a") {
      EXPECT_EQ(tensor.shape, (std::vector<int64_t>{2, 3}));
      EXPECT_EQ(values, (std::vector<float>{1, 2, 3, 4, 5, 6}));
    } else if (tensor.name == "b") {
      EXPECT_EQ(tensor.rows(), 1);
      EXPECT_EQ(values, (std::vector<float>{1, -2, 0.5, 0}));
    } else {
      EXPECT_EQ(values, (std::vector<float>{-1.5, 1024}));
    }
  }
}

TEST(Safetensors, IgnoresMetadata) {
  const std::string file = SafetensorsBuilder::WithHeader(R"({"__metadata__": {"format": "pt"}})", "");
  EXPECT_TRUE(Parse(file)->empty());
}

TEST(Safetensors, RefusesALyingHeaderLength) {
  EXPECT_REFUSED(Parse(""), "f.safetensors", "truncated");
  EXPECT_REFUSED(Parse("1234567"), "truncated");
  std::string file = SafetensorsBuilder().Add("a", TensorType::kF32, {1}, {1}).Build();
  std::string too_long = file;
  too_long[4] = 1;
  EXPECT_REFUSED(Parse(too_long), "length of its header");
  std::string above_limit;
  AppendLittleEndian(above_limit, uint64_t{100'000'001});
  above_limit.resize(above_limit.size() + 100'000'001, ' ');
  EXPECT_REFUSED(Parse(above_limit), "exceeds 100000000");
}

TEST(Safetensors, RefusesWhatDoesNotFit) {
  const auto refuse = [](const SafetensorsBuilder& builder, const std::vector<std::string>& parts) {
    const auto result = Parse(builder.Build());
    ASSERT_FALSE(result.ok());
    for (const std::string& part : parts) {
      EXPECT_THAT(std::string(result.status().message()), testing::HasSubstr(part));
    }
  };
  const std::string data(16, '\0');
  refuse(SafetensorsBuilder().AddHeader("a", "U64", "[2]", 0, 16).AddData(data), {"`a`", "U64", "F32, F16 or BF16"});
  refuse(SafetensorsBuilder().AddHeader("a", "F32", "[3]", 0, 16).AddData(data), {"`a`", "12 bytes"});
  refuse(SafetensorsBuilder().AddHeader("a", "F32", "[1.5]", 0, 4).AddData(data), {"shape"});
  refuse(SafetensorsBuilder().AddHeader("a", "F32", "[1,2,2]", 0, 16).AddData(data), {"shape"});
  refuse(SafetensorsBuilder().AddHeader("a", "F32", "[0]", 0, 0).AddData(data), {"shape"});
  refuse(SafetensorsBuilder().AddHeader("a", "F32", "[-4]", 0, 16).AddData(data), {"shape"});
  refuse(SafetensorsBuilder().AddHeader("a", "F32", "[4611686018427387904,4]", 0, 16).AddData(data), {"shape"});
  refuse(SafetensorsBuilder().AddHeader("a", "F32", "[8]", 0, 32).AddData(data), {"truncated", "16 bytes"});
  refuse(SafetensorsBuilder().AddHeader("a", "F32", "[4]", 16, 0).AddData(data), {"data_offsets"});
  refuse(SafetensorsBuilder().AddHeader("a", "F32", "[2]", 8, 16).AddData(data), {"gap"});
  refuse(SafetensorsBuilder().AddHeader("a", "F32", "[2]", 0, 8).AddData(data), {"has 16 bytes", "describes 8"});
  refuse(SafetensorsBuilder().AddHeader("a", "F32", "[3]", 0, 12).AddHeader("b", "F32", "[2]", 8, 16).AddData(data),
         {"`b`", "overlaps"});
  refuse(SafetensorsBuilder().AddHeader("a", "F32", "[2]", 0, 8).AddHeader("a", "F32", "[2]", 8, 16).AddData(data),
         {"`a`", "twice"});
  refuse(SafetensorsBuilder().AddHeader("", "F32", "[4]", 0, 16).AddData(data), {"1 to 256 bytes"});
}

TEST(Safetensors, RefusesOtherHeaders) {
  EXPECT_REFUSED(Parse(SafetensorsBuilder::WithHeader("[1]", "")), "an object");
  EXPECT_REFUSED(Parse(SafetensorsBuilder::WithHeader(R"({"a": 1})", "")), "`a`", "an object");
  EXPECT_REFUSED(Parse(SafetensorsBuilder::WithHeader(R"({"a": {}})", "")), "`a`", "dtype", "missing");
  EXPECT_REFUSED(Parse(SafetensorsBuilder::WithHeader("{", "")), "not valid JSON");
}

TEST(ShardIndex, ReadsNamesOnce) {
  const absl::StatusOr<ShardIndex> index = ParseShardIndex(
      "i.json", R"({"weight_map": {"a": "m-2.safetensors", "b": "m-1.safetensors", "c": "m-2.safetensors"}})");
  ASSERT_OK(index);
  EXPECT_THAT(index->files, testing::ElementsAre("m-1.safetensors", "m-2.safetensors"));
  EXPECT_EQ(index->entries.size(), 3u);
}

TEST(ShardIndex, RefusesPaths) {
  for (const char* file : {"../m.safetensors", "/etc/m.safetensors", "a/m.safetensors", "..safetensors", "m.bin", "",
                           "m\\u0000.safetensors"}) {
    SCOPED_TRACE(file);
    EXPECT_REFUSED(ParseShardIndex("i.json", std::string(R"({"weight_map": {"a": ")") + file + R"("}})"), "i.json",
                   "weight_map", "same folder");
  }
  EXPECT_REFUSED(ParseShardIndex("i.json", R"({"weight_map": {"a": 1}})"), "weight_map");
  EXPECT_REFUSED(ParseShardIndex("i.json", R"({"weight_map": {}})"), "weight_map");
  EXPECT_REFUSED(ParseShardIndex("i.json", "{}"), "weight_map", "missing");
}

}  // namespace
}  // namespace slmmesh
