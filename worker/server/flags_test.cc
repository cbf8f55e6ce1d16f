#include "worker/server/flags.h"

#include "common/flags.h"
#include "common/temporary_folder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace slmmesh {
namespace {

// Sets all the knobs that a worker needs, then `extra`; each test sets what it looks at, as flags stay set.
absl::StatusOr<WorkerConfig> ConfigWith(const std::vector<std::string>& extra) {
  static const TemporaryFolder* const folder = [] {
    auto* made = new TemporaryFolder;
    const auto authority = CertificateAuthority::Create("mine");
    if (!authority.ok() || !(*authority)->IssueInto(made->path(), Role::kWorker, "worker-3", 3600).ok()) abort();
    return made;
  }();
  std::vector<std::string> arguments = {"--model=/models/tiny/", "--head=127.0.0.1:7070",
                                        "--tls-dir=" + folder->path()};
  arguments.insert(arguments.end(), extra.begin(), extra.end());
  const auto parsed = ParseArguments(arguments);
  if (!parsed.ok()) return parsed.status();
  return WorkerConfigFromFlags();
}

TEST(WorkerFlags, AutoBecomesBf16AndTheKvCacheFollowsFp32Weights) {
  auto config = ConfigWith({"--weights=auto", "--kv-cache=auto"});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(WeightsName(config->weights), "auto");
  EXPECT_EQ(config->kv_cache, kernels::KvType::kBFloat16);
  EXPECT_EQ(ConfigWith({"--weights=auto", "--kv-cache=int8"})->kv_cache, kernels::KvType::kInt8);
  config = ConfigWith({"--weights=fp32", "--kv-cache=auto"});
  EXPECT_EQ(WeightsName(config->weights), "fp32");
  EXPECT_EQ(config->kv_cache, kernels::KvType::kFloat32);
  config = ConfigWith({"--weights=fp32", "--kv-cache=bf16"});
  EXPECT_EQ(config->kv_cache, kernels::KvType::kBFloat16);
}

TEST(WorkerFlags, TakesNamesFromModelAndCertificateWhereNoneAreGiven) {
  const auto config = ConfigWith({});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->served_model_name, "tiny");
  EXPECT_EQ(config->cluster, "mine");
  EXPECT_EQ(config->worker_id, "worker-3");
  EXPECT_EQ(config->advertise_host, "127.0.0.1");
  EXPECT_GE(config->cpu.threads, 1);
}

TEST(WorkerFlags, AdvertisesAddressesOfPods) {
  auto config = ConfigWith({"--listen=0.0.0.0:7072", "--advertise-host=fd00::17"});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->advertise_host, "fd00::17");
  config = ConfigWith({"--advertise-host=[fd00::17]"});
  EXPECT_EQ(config->advertise_host, "fd00::17");
  config = ConfigWith({"--listen=127.0.0.1:0", "--advertise-host=", "--revision=r4"});
  EXPECT_EQ(config->revision, "r4");
}

TEST(WorkerFlags, Speculation) {
  auto config = ConfigWith({});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->speculative_method, SpeculationMethod::kNone);
  config = ConfigWith({"--speculative-method=draft", "--speculative-model=/models/draft", "--num-speculative-tokens=3",
                       "--speculative-rule=rejection"});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->speculative_method, SpeculationMethod::kDraft);
  EXPECT_EQ(config->speculative_model, "/models/draft");
  EXPECT_EQ(config->num_speculative_tokens, 3u);
  EXPECT_EQ(config->speculative_rule, AcceptanceRule::kRejection);
  config = ConfigWith({"--speculative-method=self-quantized", "--speculative-model=/models/int4"});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->speculative_model, "/models/int4");
  ASSERT_TRUE(ConfigWith({"--speculative-method=none", "--speculative-model=", "--num-speculative-tokens=5",
                          "--speculative-rule=coupled"})
                  .ok());
}

TEST(WorkerFlags, RefusalsNameKnobAndFix) {
  const std::vector<std::pair<std::string, std::string>> wrong = {
      {"--tensor-parallel-size=3", "1, 2, 4, 8"},
      {"--block-size=20", "16, 32, 64, 128"},
      {"--memory-utilization=0", "above 0"},
      {"--memory-utilization=1.5", "above 0"},
      {"--weights=int3", "bf16"},
      {"--kv-cache=x", "bf16"},
      {"--isa=z80", "reference"},
      {"--head=nowhere", "--head"},
      {"--max-num-batched-tokens=3", "64"},
      {"--step-timeout-seconds=0", "0.1"},
      {"--speculative-method=magic", "self-quantized"},
      {"--speculative-method=draft", "--speculative-model="},
      {"--speculative-model=/models/draft", "only --speculative-method=draft"},
      {"--num-speculative-tokens=0", "1 to 64"},
      {"--num-speculative-tokens=65", "1 to 64"},
      {"--speculative-rule=always", "rejection"},
  };
  for (const auto& [argument, hint] : wrong) {
    const auto config = ConfigWith({argument});
    EXPECT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument) << argument;
    EXPECT_THAT(std::string(config.status().message()), testing::HasSubstr(hint)) << argument;
    ASSERT_TRUE(ConfigWith({"--tensor-parallel-size=1", "--block-size=16", "--memory-utilization=0.9", "--weights=auto",
                            "--kv-cache=auto", "--isa=auto", "--max-num-batched-tokens=512",
                            "--step-timeout-seconds=30", "--speculative-method=none",
                            "--speculative-model=", "--num-speculative-tokens=5", "--speculative-rule=coupled"})
                    .ok());
  }
}

}  // namespace
}  // namespace slmmesh
