#include "worker/model/matrix_format.h"

#include <gtest/gtest.h>

namespace slmmesh {
namespace {

using kernels::ScaleType;
using kernels::WeightFormat;
using kernels::WeightType;

const WeightFormat kQ4_0 = {WeightType::kInt4, 32, ScaleType::kFloat16, false};
const WeightFormat kGroupsOf128 = {WeightType::kInt4, 128, ScaleType::kFloat16, true};
const WeightFormat kQ6_K = {WeightType::kInt8, 16, ScaleType::kFloat32, false};
const WeightFormat kPerRow = {WeightType::kInt8, 0, ScaleType::kFloat32, false};

TEST(MatrixFormat, StoredIntegersAreKeptAsAsked) {
  const int64_t leaves[] = {0, 256};
  const auto choose = [&](const char* weights, std::optional<WeightFormat> stored) {
    return ChooseMatrixFormat(*ParseWeights(weights), stored, leaves);
  };
  EXPECT_EQ(choose("auto", kQ4_0).format, kQ4_0);
  EXPECT_TRUE(choose("auto", kQ4_0).is_stored);
  EXPECT_EQ(choose("auto", std::nullopt).format, WeightFormat(WeightType::kBFloat16));
  EXPECT_FALSE(choose("bf16", kQ4_0).is_stored);
  EXPECT_EQ(choose("fp32", kQ4_0).format, WeightFormat(WeightType::kFloat32));
  EXPECT_EQ(choose("int8", kQ6_K).format, kQ6_K);  // of eight bits already
  EXPECT_TRUE(choose("int8", kQ6_K).is_stored);
  EXPECT_EQ(choose("int8", kQ4_0).format, kPerRow);
  EXPECT_FALSE(choose("int8", kQ4_0).is_stored);
  EXPECT_TRUE(choose("int4", kGroupsOf128).is_stored);
  EXPECT_EQ(choose("int4", std::nullopt).format, kQ4_0);
}

TEST(MatrixFormat, AGroupThatCrossesALeafIsSplit) {
  const WeightOptions keep = *ParseWeights("auto");
  const int64_t leaves[] = {0, 192, 192, 384, 576};
  const MatrixFormat split = ChooseMatrixFormat(keep, kGroupsOf128, leaves);
  EXPECT_EQ(split.format, WeightFormat(WeightType::kInt4, 64, ScaleType::kFloat16, true));
  EXPECT_TRUE(split.is_stored);
  EXPECT_EQ(ChooseMatrixFormat(keep, kPerRow, leaves).format, kPerRow);  // its scale is the same for every leaf
}

TEST(MatrixFormat, WhatDoesNotFitIsBf16) {
  const int64_t odd[] = {0, 24, 48}, eights[] = {0, 8, 16};
  for (const char* weights : {"auto", "int4"}) {
    const MatrixFormat format = ChooseMatrixFormat(*ParseWeights(weights), kQ4_0, odd);
    EXPECT_EQ(format.format, WeightFormat(WeightType::kBFloat16));
    EXPECT_FALSE(format.is_stored);
  }
  EXPECT_EQ(ChooseMatrixFormat(*ParseWeights("int8"), std::nullopt, eights).format,
            WeightFormat(WeightType::kBFloat16));
}

TEST(MatrixFormat, WeightsHaveNames) {
  for (const char* name : {"auto", "bf16", "fp32", "int8", "int4"}) EXPECT_EQ(WeightsName(*ParseWeights(name)), name);
  EXPECT_FALSE(ParseWeights("int3").has_value());
  EXPECT_EQ(WeightsName(kGroupsOf128), "other");
}

}  // namespace
}  // namespace slmmesh
