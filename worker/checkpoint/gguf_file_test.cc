#include "worker/checkpoint/gguf_file.h"

#include "worker/checkpoint/testing/gguf_builder.h"
#include "worker/checkpoint/testing/status_matchers.h"

namespace slmmesh {
namespace {

absl::StatusOr<GgufFile> Parse(const std::string& file) {
  return ParseGguf("f.gguf", {reinterpret_cast<const uint8_t*>(file.data()), file.size()});
}

std::string Bytes(uint64_t value, size_t count) { return std::string(reinterpret_cast<const char*>(&value), count); }

TEST(GgufFile, ReadsBothVersions) {
  for (const uint32_t version : {2u, 3u}) {
    GgufBuilder builder(version);
    builder.AddInteger("n", 7)
        .AddFloat("x", 0.5f)
        .AddBool("flag", true)
        .AddString("text", "hello")
        .AddStrings("words", {"a", "", "c"})
        .AddFloats("scores", {1.5f, -2.0f})
        .AddIntegers("types", {3, -1})
        .AddTensor("m", TensorType::kF32, {2, 3}, {1, 2, 3, 4, 5, 6})
        .AddTensor("q", TensorType::kQ8_0, {1, 32}, std::vector<float>(32, 127.0f))
        .AddTensor("v", TensorType::kF16, {2}, {0.5f, -1.0f});
    const std::string file = builder.Build();
    const absl::StatusOr<GgufFile> parsed = Parse(file);
    ASSERT_OK(parsed);
    const GgufMetadata& metadata = parsed->metadata;
    EXPECT_EQ(*metadata.Integer("n", 0, 9), 7);
    EXPECT_EQ(*metadata.Number("x", 0, 1), 0.5);
    EXPECT_EQ(*metadata.Number("n", 0, 9), 7.0);
    EXPECT_TRUE(*metadata.BoolOr("flag", false));
    EXPECT_EQ(*metadata.String("text"), "hello");
    EXPECT_THAT(**metadata.Array<absl::string_view>("words"), testing::ElementsAre("a", "", "c"));
    EXPECT_THAT(**metadata.Array<double>("scores"), testing::ElementsAre(1.5, -2.0));
    EXPECT_THAT(**metadata.Array<int64_t>("types"), testing::ElementsAre(3, -1));
    EXPECT_EQ(*metadata.Array<int64_t>("absent"), nullptr);

    ASSERT_EQ(parsed->tensors.size(), 3u);
    const TensorView& matrix = parsed->tensors[0];
    EXPECT_EQ(matrix.shape, (std::vector<int64_t>{2, 3})) << "rows first";
    std::vector<float> values(6);
    ReadTensor(matrix, 0, 2, 0, 3, values.data());
    EXPECT_EQ(values, (std::vector<float>{1, 2, 3, 4, 5, 6}));
    ReadTensor(parsed->tensors[1], 0, 1, 31, 32, values.data());
    EXPECT_EQ(values[0], 127.0f);
    EXPECT_EQ(parsed->tensors[2].shape, (std::vector<int64_t>{2}));
  }
}

TEST(GgufFile, TypesOfMetadataAreChecked) {
  const std::string file = GgufBuilder().AddString("s", "x").AddInteger("n", 7).AddFloat("x", NAN).Build();
  const absl::StatusOr<GgufFile> parsed = Parse(file);
  ASSERT_OK(parsed);
  const GgufMetadata& metadata = parsed->metadata;
  EXPECT_REFUSED(metadata.Integer("s", 0, 9), "f.gguf", "`s`", "\"x\"", "an integer from 0 to 9");
  EXPECT_REFUSED(metadata.Integer("n", 8, 9), "7");
  EXPECT_REFUSED(metadata.Integer("absent", 8, 9), "missing");
  EXPECT_REFUSED(metadata.Number("x", 0, 1), "nan");
  EXPECT_REFUSED(metadata.String("n"), "a string");
  EXPECT_REFUSED(metadata.BoolOr("n", true), "true or false");
  EXPECT_REFUSED(metadata.Array<double>("n"), "an array of numbers");
  EXPECT_EQ(*metadata.IntegerOr("absent", 5, 0, 1), 5);
}

TEST(GgufFile, RefusesOtherFiles) {
  EXPECT_REFUSED(Parse(""), "f.gguf", "not a GGUF file");
  EXPECT_REFUSED(Parse(std::string("GGML\3\0\0\0", 8)), "not a GGUF file");
  EXPECT_REFUSED(Parse(GgufBuilder(1).Build()), "version 1", "2 or 3");
  EXPECT_REFUSED(Parse(GgufBuilder(0x03000000).Build()), "little-endian");
}

TEST(GgufFile, EveryTruncationIsRefused) {
  const std::string file = GgufBuilder()
                               .AddString("text", "hello")
                               .AddStrings("words", {"a", "b"})
                               .AddTensor("m", TensorType::kQ4_0, {1, 32}, std::vector<float>(32, 1.0f))
                               .Build();
  ASSERT_OK(Parse(file));
  for (size_t length = 0; length < file.size(); ++length) EXPECT_FALSE(Parse(file.substr(0, length)).ok()) << length;
}

TEST(GgufFile, BoundsCounts) {
  std::string many_tensors = GgufBuilder().Build();
  many_tensors.replace(8, 8, Bytes(uint64_t{1} << 60, 8));
  EXPECT_REFUSED(Parse(many_tensors), "announces 1152921504606846976 tensors");
  EXPECT_REFUSED(Parse(GgufBuilder().AddRaw("a", 9, GgufBuilder::ArrayHeader(4, uint64_t{1} << 60)).Build()), "`a`",
                 "a flat array of at most");
  EXPECT_REFUSED(Parse(GgufBuilder().AddRaw("a", 9, GgufBuilder::ArrayHeader(8, 1 << 20)).Build()), "truncated");
  EXPECT_REFUSED(Parse(GgufBuilder().AddRaw("a", 9, GgufBuilder::ArrayHeader(9, 1)).Build()), "flat array");
  EXPECT_REFUSED(Parse(GgufBuilder().AddRaw("a", 8, Bytes(uint64_t{1} << 63, 8)).Build()), "truncated");
  EXPECT_REFUSED(Parse(GgufBuilder().AddRaw("a", 99, "x").Build()), "`a`", "type 99");
  EXPECT_REFUSED(Parse(GgufBuilder().AddInteger("a", 1).AddInteger("a", 2).Build()), "`a`", "twice");
}

TEST(GgufFile, RefusesTensorsThatDoNotFit) {
  const auto with_tensor = [](uint32_t code, const std::vector<uint64_t>& sizes, uint64_t offset) {
    return Parse(GgufBuilder().AddTensorInfo("t", code, sizes, offset).Build() + std::string(256, '\0'));
  };
  ASSERT_OK(with_tensor(0, {8, 8}, 0));
  EXPECT_REFUSED(with_tensor(11, {256}, 0), "`t`", "Q3_K", "F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q4_K, Q5_K or Q6_K");
  EXPECT_REFUSED(with_tensor(0, {}, 0), "0 dimensions");
  EXPECT_REFUSED(with_tensor(0, {2, 2, 2}, 0), "3 dimensions");
  EXPECT_REFUSED(with_tensor(0, {0, 4}, 0), "sizes 0 and 4");
  EXPECT_REFUSED(with_tensor(0, {uint64_t{1} << 33, uint64_t{1} << 33}, 0), "sizes");
  EXPECT_REFUSED(with_tensor(8, {33}, 0), "multiple of 32");
  EXPECT_REFUSED(with_tensor(14, {288}, 0), "multiple of 256");
  EXPECT_REFUSED(with_tensor(0, {8, 8}, 32), "256 bytes at offset 32", "truncated");
  EXPECT_REFUSED(with_tensor(0, {8, 8}, uint64_t{1} << 63), "truncated");
  EXPECT_REFUSED(with_tensor(0, {4}, 8), "offset 8", "multiple of 32");
  EXPECT_REFUSED(Parse(GgufBuilder().AddTensorInfo("t", 0, {16}, 0).AddTensorInfo("u", 0, {16}, 32).Build() +
                       std::string(256, '\0')),
                 "`u`", "at least 64");
  EXPECT_REFUSED(Parse(GgufBuilder().AddTensorInfo("t", 0, {8}, 0).AddTensorInfo("t", 0, {8}, 32).Build() +
                       std::string(256, '\0')),
                 "`t`", "twice");
}

TEST(GgufFile, Alignment) {
  EXPECT_REFUSED(Parse(GgufBuilder().AddInteger("general.alignment", 48).Build()), "general.alignment", "power of two");
  EXPECT_REFUSED(Parse(GgufBuilder().AddInteger("general.alignment", 0).Build()), "general.alignment");
  ASSERT_OK(Parse(GgufBuilder().AddInteger("general.alignment", 8).Build()));
}

}  // namespace
}  // namespace slmmesh
