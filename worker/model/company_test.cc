// Numbers never depend on company: random models in random schedules give the bits that a sequence gets alone.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iostream>

#include "worker/model/testing/random_checkpoint.h"
#include "worker/model/testing/schedule.h"

namespace slmmesh {
namespace {

// The plain kernels are slow: fewer models suffice, since the arithmetic order under test is the same code.
int NumModels(kernels::Isa isa) { return isa == kernels::Isa::kReference ? 2 : 4; }

template <typename T>
T Pick(std::mt19937_64& random, std::initializer_list<T> values) {
  return *(values.begin() + random() % values.size());
}

std::string Describe(const ModelConfig& config) {
  return absl::StrCat(ArchitectureName(config.architecture), " hidden ", config.hidden_size, " layers ",
                      config.num_layers, " q heads ", config.num_q_heads, " kv heads ", config.num_kv_heads,
                      " head_dim ", config.head_dim, " intermediate ", config.intermediate_size, " vocab ",
                      config.vocab_size);
}

void SetKvHeads(int64_t num_kv_heads, ModelConfig* config) {
  config->num_q_heads = config->num_q_heads / config->num_kv_heads * num_kv_heads;
  config->num_kv_heads = num_kv_heads;
}

// Sizes that groups of 32 divide, leaf by leaf: else every matrix would be kept in bf16.
void RoundToGroups(ModelConfig* config) {
  config->hidden_size = (config->hidden_size + 31) / 32 * 32;
  config->intermediate_size = (config->intermediate_size + 31) / 32 * 32;
  config->head_dim = 32;
  config->rotary_dim = 32;
  config->rope.frequency_factors.clear();
}

// Equal bits prove something only where the numbers are numbers and differ from each other.
bool IsMeaningful(const Logits& logits) {
  const auto finite = [](float logit) { return std::isfinite(logit); };
  return std::all_of(logits.begin(), logits.end(), finite) &&
         *std::max_element(logits.begin(), logits.end()) > *std::min_element(logits.begin(), logits.end());
}

bool SameBits(const Logits& a, const Logits& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

class CompanyTest : public testing::TestWithParam<std::tuple<kernels::Isa, const char*>> {
 protected:
  static kernels::Isa isa() { return std::get<0>(GetParam()); }
  static WeightOptions weights() { return *ParseWeights(std::get<1>(GetParam())); }

  // Calls check(group, random) with random models. A failure's trace has the seed and the shape.
  template <typename Check>
  void ForRandomModels(Check check) {
    const uint64_t first_seed = std::random_device()();
    std::cout << "first seed " << first_seed << "\n";
    for (int model = 0; model < NumModels(isa()); ++model) {
      const uint64_t seed = first_seed + model;
      std::mt19937_64 random(seed);
      ModelConfig config = RandomModelConfig(random);
      if (model == 0) SetKvHeads(3, &config);  // uneven shards, and empty ones at degree 8
      if (model == 1) SetKvHeads(1, &config);  // one rank alone attends
      if (weights().format.is_integer()) RoundToGroups(&config);
      SCOPED_TRACE(absl::StrCat("seed ", seed, ": ", Describe(config)));
      ModelGroupOptions options;
      options.isa = isa();
      options.weights = weights();
      auto group = ModelGroup::Create(std::make_shared<RandomCheckpoint>(config, seed), options);
      ASSERT_TRUE(group.ok()) << group.status();
      check(**group, random);
    }
  }

  Logits Alone(ModelGroup& group, const Tokens& tokens, const KvCacheOptions& cache) {
    auto logits = RunAlone(group, tokens, cache);
    EXPECT_TRUE(logits.ok()) << logits.status();
    if (!logits.ok()) return {};
    EXPECT_TRUE(IsMeaningful(*logits));
    return *logits;
  }
};

TEST_P(CompanyTest, ABatchOfUpTo32InRandomChunksAndBlocksChangesNoBit) {
  ForRandomModels([&](ModelGroup& group, std::mt19937_64& random) {
    KvCacheOptions cache;
    cache.type = Pick(random, {kernels::KvType::kFloat32, kernels::KvType::kBFloat16, kernels::KvType::kInt8});
    std::vector<Tokens> sequences(Pick(random, {2, 7, 32}));
    for (Tokens& tokens : sequences) {
      tokens = RandomTokens(random, 1 + random() % 60, group.model(0).config().vocab_size);
    }
    ScheduleOptions schedule;
    schedule.cache = cache;
    schedule.cache.block_size = Pick(random, {16, 32, 48});
    auto together = RunTogether(group, sequences, schedule, random);
    ASSERT_TRUE(together.ok()) << together.status();
    for (size_t s = 0; s < sequences.size(); ++s) {
      EXPECT_TRUE(SameBits((*together)[s], Alone(group, sequences[s], cache))) << "sequence " << s;
    }
  });
}

TEST_P(CompanyTest, ASharedPrefixChangesNoBit) {
  ForRandomModels([&](ModelGroup& group, std::mt19937_64& random) {
    KvCacheOptions cache;
    cache.type = Pick(random, {kernels::KvType::kFloat32, kernels::KvType::kBFloat16, kernels::KvType::kInt8});
    const int64_t vocab = group.model(0).config().vocab_size;
    ScheduleOptions schedule;
    schedule.cache = cache;
    schedule.shared_prefix = 32;
    const Tokens prefix = RandomTokens(random, schedule.shared_prefix, vocab);
    std::vector<Tokens> sequences(4, prefix);
    for (Tokens& tokens : sequences) {
      const Tokens rest = RandomTokens(random, 1 + random() % 30, vocab);
      tokens.insert(tokens.end(), rest.begin(), rest.end());
    }
    auto together = RunTogether(group, sequences, schedule, random);
    ASSERT_TRUE(together.ok()) << together.status();
    for (size_t s = 0; s < sequences.size(); ++s) {
      EXPECT_TRUE(SameBits((*together)[s], Alone(group, sequences[s], cache))) << "sequence " << s;
    }
  });
}

TEST_P(CompanyTest, TheDegreeChangesNoBit) {
  ForRandomModels([&](ModelGroup& group, std::mt19937_64& random) {
    const ModelConfig& config = group.model(0).config();
    const uint64_t weights_seed = random();
    const auto checkpoint = std::make_shared<RandomCheckpoint>(config, weights_seed);
    std::vector<Tokens> sequences(3);
    for (Tokens& tokens : sequences) tokens = RandomTokens(random, 1 + random() % 40, config.vocab_size);
    const uint64_t schedule_seed = random();
    std::vector<Logits> expected;
    for (const int degree : {1, 2, 4, 8}) {
      ModelGroupOptions options;
      options.size = degree;
      options.isa = isa();
      options.weights = weights();
      auto ranks = ModelGroup::Create(checkpoint, options);
      ASSERT_TRUE(ranks.ok()) << ranks.status();
      std::mt19937_64 schedule_random(schedule_seed);
      auto logits = RunTogether(**ranks, sequences, {}, schedule_random);
      ASSERT_TRUE(logits.ok()) << logits.status();
      if (degree == 1) {
        expected = *logits;
        for (const Logits& alone : expected) EXPECT_TRUE(IsMeaningful(alone));
      }
      for (size_t s = 0; s < sequences.size(); ++s) {
        EXPECT_TRUE(SameBits((*logits)[s], expected[s])) << "degree " << degree << ", sequence " << s;
      }
    }
  });
}

// Integer products are defined to the bit, and so is all around them but for the products of bf16.
TEST(IntegerModel, GivesTheSameBitsOnEveryInstructionSet) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937_64 random(seed);
  ModelConfig config = RandomModelConfig(random);
  RoundToGroups(&config);
  const auto checkpoint = std::make_shared<RandomCheckpoint>(config, seed);
  const Tokens tokens = RandomTokens(random, 40, config.vocab_size);
  KvCacheOptions cache;
  cache.type = kernels::KvType::kFloat32;
  for (const char* weights : {"int8", "int4"}) {
    Logits expected;
    for (const kernels::Isa isa : kernels::SupportedIsas()) {
      ModelGroupOptions options;
      options.isa = isa;
      options.weights = *ParseWeights(weights);
      auto group = ModelGroup::Create(checkpoint, options);
      ASSERT_TRUE(group.ok()) << group.status();
      auto logits = RunAlone(**group, tokens, cache);
      ASSERT_TRUE(logits.ok()) << logits.status();
      EXPECT_TRUE(IsMeaningful(*logits));
      if (expected.empty()) expected = *logits;
      EXPECT_TRUE(SameBits(*logits, expected)) << kernels::IsaName(isa) << ", " << weights;
    }
  }
}

std::string NameOf(const testing::TestParamInfo<CompanyTest::ParamType>& info) {
  return absl::StrCat(kernels::IsaName(std::get<0>(info.param)), "_", std::get<1>(info.param));
}

INSTANTIATE_TEST_SUITE_P(AllIsas, CompanyTest,
                         testing::Combine(testing::ValuesIn(kernels::SupportedIsas()),
                                          testing::Values("fp32", "bf16", "int8", "int4")),
                         NameOf);

}  // namespace
}  // namespace slmmesh
