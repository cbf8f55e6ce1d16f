#include "cli/bench.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <iostream>
#include <mutex>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/http_client.h"
#include "cli/run_folder.h"
#include "cli/sse_parser.h"
#include "common/status.h"

namespace slmmesh {
namespace {

using Json = nlohmann::json;
using SteadyTime = std::chrono::steady_clock::time_point;

double MillisecondsSince(SteadyTime start) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

// What one request's client saw.
struct Sample {
  double first_token_ms = -1;
  double total_ms = 0;
  std::vector<double> gaps_ms;  // between two messages with text
  int prompt_tokens = 0;
  int output_tokens = 0;
};

std::string RequestBody(const BenchOptions& options, int index) {
  std::mt19937_64 random(options.seed * 1000003 + static_cast<uint64_t>(index));
  Json prompt = Json::array();
  for (int i = 0; i < options.prompt_tokens; ++i) prompt.push_back(100 + random() % (options.vocabulary - 100));
  return Json{
      {"model", options.model}, {"prompt", prompt}, {"max_tokens", options.output_tokens},        {"temperature", 0},
      {"ignore_eos", true},     {"stream", true},   {"stream_options", {{"include_usage", true}}}}
      .dump();
}

absl::StatusOr<Sample> OneRequest(HttpClient& client, const std::string& body) {
  Sample sample;
  std::string raw, error;
  const SteadyTime start = std::chrono::steady_clock::now();
  SteadyTime last = start;
  SseParser parser([&](const std::string& data) {
    const Json event = Json::parse(data, nullptr, false);
    if (!event.is_object()) return;
    if (event.contains("error")) error = data;
    if (event.contains("usage") && event["usage"].is_object()) {
      sample.prompt_tokens = event["usage"].value("prompt_tokens", 0);
      sample.output_tokens = event["usage"].value("completion_tokens", 0);
    }
    if (!event.contains("choices") || event["choices"].empty()) return;
    if (sample.first_token_ms < 0) {
      sample.first_token_ms = MillisecondsSince(start);
    } else {
      sample.gaps_ms.push_back(MillisecondsSince(last));
    }
    last = std::chrono::steady_clock::now();
  });
  absl::Status parsed;
  ASSIGN_OR_RETURN(const int code, client.Request("POST", "/v1/completions", body, [&](absl::string_view piece) {
    if (raw.size() < 4096) absl::StrAppend(&raw, piece);
    if (parsed.ok()) parsed = parser.Feed(piece);
  }));
  if (code != 200) return absl::UnavailableError(absl::StrCat("HTTP ", code, ": ", raw.substr(0, 500)));
  if (!error.empty()) return absl::UnavailableError(error.substr(0, 500));
  RETURN_IF_ERROR(parsed);
  sample.total_ms = MillisecondsSince(start);
  return sample;
}

class Run {
 public:
  explicit Run(const BenchOptions& options) : options_(options) {}

  absl::StatusOr<std::vector<Sample>> Execute() {
    std::vector<std::thread> threads;
    for (int i = 0; i < options_.streams; ++i) threads.emplace_back([this] { Stream(); });
    for (std::thread& thread : threads) thread.join();
    RETURN_IF_ERROR(error_);
    return samples_;
  }

 private:
  // A connection each: llama-server closes it after a streamed answer.
  void Stream() {
    HttpClientOptions client_options;
    client_options.url = options_.url;
    for (int index; (index = next_++) < options_.requests;) {
      auto client = HttpClient::Connect(client_options);
      if (!client.ok()) return Fail(client.status());
      auto sample = OneRequest(**client, RequestBody(options_, index));
      if (!sample.ok()) return Fail(sample.status());
      std::lock_guard<std::mutex> lock(mutex_);
      samples_.push_back(*std::move(sample));
    }
  }

  void Fail(const absl::Status& status) {
    std::lock_guard<std::mutex> lock(mutex_);
    error_ = status;
    next_ = options_.requests;
  }

  const BenchOptions& options_;
  std::atomic<int> next_{0};
  std::mutex mutex_;
  absl::Status error_;
  std::vector<Sample> samples_;
};

double Percentile(std::vector<double> values, double fraction) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[std::min(values.size() - 1, static_cast<size_t>(fraction * static_cast<double>(values.size())))];
}

Json Summarize(const BenchOptions& options, const std::vector<Sample>& samples, double wall_seconds) {
  std::vector<double> first, gaps, totals;
  int64_t prompt_tokens = 0, output_tokens = 0;
  for (const Sample& sample : samples) {
    first.push_back(sample.first_token_ms);
    totals.push_back(sample.total_ms);
    gaps.insert(gaps.end(), sample.gaps_ms.begin(), sample.gaps_ms.end());
    prompt_tokens += sample.prompt_tokens;
    output_tokens += sample.output_tokens;
  }
  return {{"streams", options.streams},
          {"requests", samples.size()},
          {"prompt_tokens", options.prompt_tokens},
          {"output_tokens", options.output_tokens},
          {"wall_seconds", wall_seconds},
          {"output_tokens_per_second", static_cast<double>(output_tokens) / wall_seconds},
          {"total_tokens_per_second", static_cast<double>(prompt_tokens + output_tokens) / wall_seconds},
          {"ttft_p50_ms", Percentile(first, 0.5)},
          {"ttft_p99_ms", Percentile(first, 0.99)},
          {"itl_p50_ms", Percentile(gaps, 0.5)},
          {"itl_p99_ms", Percentile(gaps, 0.99)},
          {"itl_max_ms", Percentile(gaps, 1)},
          {"e2e_p50_ms", Percentile(totals, 0.5)}};
}

}  // namespace

absl::Status Bench(BenchOptions options) {
  if (options.vocabulary <= 100) return absl::InvalidArgumentError("--vocabulary: write a number above 100");
  if (options.url.empty()) {
    ASSIGN_OR_RETURN(const std::string folder, FindRunFolder(options.name));
    ASSIGN_OR_RETURN(const MeshState state, ReadState(folder));
    options.url = absl::StrCat("http://", state.http);
    if (options.model.empty()) options.model = state.model;
  }
  const SteadyTime start = std::chrono::steady_clock::now();
  ASSIGN_OR_RETURN(const std::vector<Sample> samples, Run(options).Execute());
  const Json summary = Summarize(options, samples, MillisecondsSince(start) / 1000);
  if (options.json) {
    std::cout << summary.dump() << "\n";
    return absl::OkStatus();
  }
  std::cout << absl::StrFormat(
      "%d streams, %d requests of %d + %d tokens: %.1f output tokens/s, first token p50 %.1f ms, p99 %.1f ms, "
      "inter-token p50 %.2f ms, p99 %.2f ms, max %.1f ms\n",
      options.streams, options.requests, options.prompt_tokens, options.output_tokens,
      summary["output_tokens_per_second"].get<double>(), summary["ttft_p50_ms"].get<double>(),
      summary["ttft_p99_ms"].get<double>(), summary["itl_p50_ms"].get<double>(), summary["itl_p99_ms"].get<double>(),
      summary["itl_max_ms"].get<double>());
  return absl::OkStatus();
}

}  // namespace slmmesh
