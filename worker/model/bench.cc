// model-bench PATH: tokens a second of one model on this machine, alone on one rank, and how near they come to what the
// machine could do. Every sample is paired with a probe taken just after it; figures and ratios are medians.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/flags.h"
#include "common/status.h"
#include "worker/collective/local_communicator.h"
#include "worker/model/bench_probe.h"
#include "worker/model/bench_step.h"
#include "worker/model/model.h"

ABSL_FLAG(uint32_t, threads, 0, "compute threads; 0: all that this process may run on");
ABSL_FLAG(std::string, weights, "auto",
          "auto | bf16 | fp32 | int8 | int4: how weights are kept in memory; auto: stored "
          "integers as they are, else bf16");
ABSL_FLAG(std::vector<std::string>, prefill, {"512"}, "prompt lengths, separated by commas; empty: none");
ABSL_FLAG(std::vector<std::string>, decode, (std::vector<std::string>{"1", "8", "32"}),
          "numbers of sequences that decode together, separated by commas; empty: none");
ABSL_FLAG(uint32_t, context, 128, "positions of a decoding sequence that are already there");
ABSL_FLAG(double, seconds, 3, "about how long to measure each figure; at least one sample is taken");
ABSL_FLAG(bool, json, false, "one JSON object instead of a table");
ABSL_FLAG(bool, probe, false, "no model: only what this machine can do at this moment");

namespace slmmesh {
namespace {

using Json = nlohmann::json;
using Clock = std::chrono::steady_clock;

constexpr int kMaxSamples = 9;
constexpr double kSampleSeconds = 0.25;  // quick steps are repeated to fill it

double SecondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

const char* TypeName(kernels::WeightType type) {
  switch (type) {
    case kernels::WeightType::kFloat32:
      return "fp32";
    case kernels::WeightType::kBFloat16:
      return "bf16";
    case kernels::WeightType::kInt8:
      return "int8";
    case kernels::WeightType::kInt4:
      return "int4";
  }
  return "";
}

absl::StatusOr<std::vector<uint32_t>> ParseCounts(const char* knob, const std::vector<std::string>& texts) {
  std::vector<uint32_t> counts;
  for (const std::string& text : texts) {
    uint32_t count = 0;
    if (text.empty()) continue;
    if (!absl::SimpleAtoi(text, &count) || count == 0 || count > (1u << 20)) {
      return absl::InvalidArgumentError(absl::StrCat("--", knob, "=", text, ": give numbers from 1 to 1048576"));
    }
    counts.push_back(count);
  }
  return counts;
}

class Bench {
 public:
  static absl::StatusOr<Bench> Create(const std::string& path, int64_t max_model_len) {
    Bench bench;
    const int threads = static_cast<int>(absl::GetFlag(FLAGS_threads));
    bench.backend_ = kernels::CreateCpuBackend({.threads = threads});
    ASSIGN_OR_RETURN(bench.probe_, MachineProbe::Create(bench.backend_.get(), threads));
    if (path.empty()) return bench;
    ASSIGN_OR_RETURN(std::shared_ptr<const Checkpoint> checkpoint, Checkpoint::Open(path));
    const Clock::time_point start = Clock::now();
    ModelOptions options;
    const std::optional<WeightOptions> weights = ParseWeights(absl::GetFlag(FLAGS_weights));
    if (!weights.has_value()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--weights=", absl::GetFlag(FLAGS_weights), ": give auto, bf16, fp32, int8 or int4"));
    }
    options.weights = *weights;
    options.max_model_len = std::min(max_model_len, checkpoint->config().max_positions);
    ASSIGN_OR_RETURN(bench.model_, Model::Load(checkpoint, bench.backend_.get(), options));
    bench.load_seconds_ = SecondsSince(start);
    bench.type_ = bench.model_->weight_type();
    return bench;
  }

  const ModelConfig& config() const { return model_->config(); }

  absl::StatusOr<Json> Run(const std::vector<BenchStep>& steps) {
    KvCacheOptions cache;
    cache.block_size = kBenchBlockSize;
    for (const BenchStep& step : steps) cache.num_blocks = std::max<int64_t>(cache.num_blocks, step.kv_blocks);
    RETURN_IF_ERROR(model_->ResetKvCache(cache));
    Json report = {{"backend", backend_->Describe()},
                   {"weights", TypeName(type_)},
                   {"load_seconds", load_seconds_},
                   {"weight_bytes", model_->weight_bytes()},
                   {"steps", Json::array()}};
    for (const BenchStep& step : steps) {
      ASSIGN_OR_RETURN(Json figures, Measure(step));
      report["steps"].push_back(std::move(figures));
    }
    return report;
  }

  Json Probe() {
    Json report = {{"backend", backend_->Describe()}, {"read_bytes_per_second", probe_->ReadBytesPerSecond()}};
    for (const auto& [name, type] :
         {std::pair("fp32", kernels::WeightType::kFloat32), std::pair("bf16", kernels::WeightType::kBFloat16),
          std::pair("int8", kernels::WeightType::kInt8)}) {
      report["peak_operations_per_second"][name] = probe_->PeakOperationsPerSecond(type);
    }
    return report;
  }

 private:
  absl::StatusOr<double> Seconds(const BenchStep& step, size_t chunks, int repeats) {
    const Clock::time_point start = Clock::now();
    for (int repeat = 0; repeat < repeats; ++repeat) {
      for (size_t i = 0; i < chunks; ++i) {
        absl::Span<const float> logits;
        RETURN_IF_ERROR(model_->Forward(step.chunks[i], *communicator_, &logits));
      }
    }
    return SecondsSince(start) / repeats;
  }

  absl::StatusOr<Json> Measure(const BenchStep& step) {
    ASSIGN_OR_RETURN(const double warm_seconds, Seconds(step, 1, 1));
    const int repeats = std::max(1, static_cast<int>(kSampleSeconds / warm_seconds));
    const uint64_t kv_bytes = step.kv_blocks * model_->KvBytesPerBlock(kernels::KvType::kBFloat16, kBenchBlockSize);
    const double bytes = static_cast<double>(model_->weight_bytes() + kv_bytes);
    std::vector<double> seconds, of_read, of_peak;
    const Clock::time_point start = Clock::now();
    do {
      ASSIGN_OR_RETURN(const double sample, Seconds(step, step.chunks.size(), repeats));
      seconds.push_back(sample);
      of_read.push_back(100 * bytes / sample / probe_->ReadBytesPerSecond());
      of_peak.push_back(100 * step.operations / sample / probe_->PeakOperationsPerSecond(type_));
    } while (seconds.size() < kMaxSamples && SecondsSince(start) < absl::GetFlag(FLAGS_seconds));
    Json figures = {{"kind", step.kind},
                    {"count", step.count},
                    {"operations", step.operations},
                    {"milliseconds", 1e3 * Median(seconds)},
                    {"tokens_per_second", step.count / Median(seconds)},
                    {"percent_of_peak", Median(of_peak)}};
    // A prompt reads its weights once a chunk: that bounds nothing.
    if (step.kind == "decode") figures["percent_of_read"] = Median(of_read);
    return figures;
  }

  std::unique_ptr<kernels::Backend> backend_;
  std::unique_ptr<MachineProbe> probe_;
  std::unique_ptr<Communicator> communicator_ = CreateLocalCommunicator();
  std::unique_ptr<Model> model_;
  kernels::WeightType type_ = kernels::WeightType::kBFloat16;
  double load_seconds_ = 0;
};

void PrintTable(const Json& report) {
  std::printf("%s, %s, loaded in %.2f s, %.0f MB of weights\n", report["backend"].get<std::string>().c_str(),
              report["weights"].get<std::string>().c_str(), report["load_seconds"].get<double>(),
              report["weight_bytes"].get<double>() / 1e6);
  std::printf("%-24s %10s %12s %10s %10s\n", "step", "ms", "tokens/s", "% of read", "% of peak");
  for (const Json& step : report["steps"]) {
    const std::string name = step["kind"] == "prefill" ? "prefill, tokens" : "decode, sequences";
    const std::string read =
        step.contains("percent_of_read") ? absl::StrFormat("%.0f", step["percent_of_read"].get<double>()) : "-";
    std::printf("%-19s %4u %10.2f %12.1f %10s %10.0f\n", name.c_str(), step["count"].get<uint32_t>(),
                step["milliseconds"].get<double>(), step["tokens_per_second"].get<double>(), read.c_str(),
                step["percent_of_peak"].get<double>());
  }
}

absl::Status Main(const std::vector<std::string>& paths) {
  if (absl::GetFlag(FLAGS_probe)) {
    ASSIGN_OR_RETURN(Bench bench, Bench::Create("", 0));
    std::printf("%s\n", bench.Probe().dump().c_str());
    return absl::OkStatus();
  }
  if (paths.size() != 1) return absl::InvalidArgumentError("name one model: model-bench PATH");
  ASSIGN_OR_RETURN(const std::vector<uint32_t> prompts, ParseCounts("prefill", absl::GetFlag(FLAGS_prefill)));
  ASSIGN_OR_RETURN(const std::vector<uint32_t> batches, ParseCounts("decode", absl::GetFlag(FLAGS_decode)));
  const uint32_t context = absl::GetFlag(FLAGS_context);
  uint32_t longest = context + 1;
  for (const uint32_t tokens : prompts) longest = std::max(longest, tokens);
  ASSIGN_OR_RETURN(Bench bench, Bench::Create(paths[0], longest));
  std::vector<BenchStep> steps;
  for (const uint32_t tokens : prompts) steps.push_back(PrefillStep(bench.config(), tokens));
  for (const uint32_t sequences : batches) steps.push_back(DecodeStep(bench.config(), sequences, context));
  ASSIGN_OR_RETURN(const Json report, bench.Run(steps));
  if (absl::GetFlag(FLAGS_json)) {
    std::printf("%s\n", report.dump().c_str());
  } else {
    PrintTable(report);
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace slmmesh

int main(int argc, char** argv) {
  const std::vector<std::string> paths = slmmesh::ParseFlags(
      argc, argv, "model-bench", "Times a model's steps on one rank: model-bench PATH (a folder or a .gguf file).");
  const absl::Status status = slmmesh::Main(paths);
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  return status.code() == absl::StatusCode::kInvalidArgument ? 2 : 1;
}
