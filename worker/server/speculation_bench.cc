// speculation-bench PATH: what speculation is worth on this machine, with one model in one process. Every prompt is
// answered without it, with as many guesses as the engine thinks best, and with a fixed number, in turns: ratios are of
// neighbouring turns. Prints tokens a second of decoding, acceptance, what a step costs, and, from those costs, the
// speedup at any acceptance. Each way to decode keeps its engine, and with it what that learned, as a worker does.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "common/flags.h"
#include "common/status.h"
#include "worker/collective/local_communicator.h"
#include "worker/engine/engine.h"
#include "worker/server/group_runner.h"
#include "worker/server/model_store.h"
#include "worker/server/modelled_guesses.h"

ABSL_FLAG(std::string, weights, "auto", "auto | bf16 | fp32 | int8 | int4: of the model");
ABSL_FLAG(std::string, method, "self-quantized", "ngram | self-quantized | draft");
ABSL_FLAG(std::string, draft, "", "of methods draft and self-quantized: as a worker's --speculative-model");
ABSL_FLAG(std::string, rule, "coupled", "coupled | rejection");
ABSL_FLAG(uint32_t, guesses, 5, "at most, of a step");
ABSL_FLAG(std::string, prompts, "",
          "a JSON list of token ids a line; empty: random tokens, whose answers are no text and have no end");
ABSL_FLAG(uint32_t, streams, 1, "prompts that are answered at once");
ABSL_FLAG(uint32_t, output_tokens, 128, "of each answer, at most");
ABSL_FLAG(double, temperature, 0, "of the sampling");
ABSL_FLAG(uint32_t, rounds, 3, "how often each prompt is answered in each way; the figures are medians");
ABSL_FLAG(std::string, record_guesses, "",
          "a file that gets, of each guess of the fixed way, its lead and whether it was right");
ABSL_FLAG(std::string, replay_guesses, "",
          "such a file of another model: guesses are right as often as there, whatever the target says");
ABSL_FLAG(uint32_t, threads, 0, "compute threads; 0: all that this process may run on");
ABSL_FLAG(bool, json, false, "one JSON object instead of tables");

namespace slmmesh {
namespace {

using Json = nlohmann::json;
using Prompt = std::vector<uint32_t>;

constexpr uint32_t kRandomPrompts = 4, kRandomPromptTokens = 64;

// The value that the given share of all is below.
double Quantile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[std::min(values.size() - 1, static_cast<size_t>(share * static_cast<double>(values.size())))];
}

double Median(std::vector<double> values) { return Quantile(std::move(values), 0.5); }

absl::StatusOr<std::vector<Prompt>> ReadPrompts(const std::string& path, int64_t vocab_size) {
  std::vector<Prompt> prompts;
  if (path.empty()) {
    std::mt19937 random(1);
    prompts.resize(kRandomPrompts, Prompt(kRandomPromptTokens));
    for (Prompt& prompt : prompts) {
      for (uint32_t& token : prompt) token = static_cast<uint32_t>(random() % vocab_size);
    }
    return prompts;
  }
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const Json list = Json::parse(line, nullptr, false);
    const bool is_list = list.is_array() && !list.empty() &&
                         std::all_of(list.begin(), list.end(), [](const Json& id) { return id.is_number_unsigned(); });
    if (!is_list) {
      return absl::InvalidArgumentError(
          absl::StrCat("--prompts=", path, ", line ", prompts.size() + 1, ": write a JSON list of token ids"));
    }
    prompts.push_back(list.get<Prompt>());
  }
  if (prompts.empty())
    return absl::InvalidArgumentError(absl::StrCat("--prompts=", path, ": there is no prompt in it"));
  return prompts;
}

// What one turn of one way to decode gave. Times are of steps that decode and do nothing else.
struct Turn {
  uint64_t tokens = 0, steps = 0;
  double seconds = 0, draft_seconds = 0, verify_seconds = 0;
  SpeculationStats stats;

  void Add(const Turn& other) {
    tokens += other.tokens;
    steps += other.steps;
    seconds += other.seconds;
    draft_seconds += other.draft_seconds;
    verify_seconds += other.verify_seconds;
    stats.guessed += other.stats.guessed;
    stats.judged += other.stats.judged;
    stats.accepted += other.stats.accepted;
  }
  double PerStep(double quantity) const { return steps == 0 ? 0 : quantity / static_cast<double>(steps); }
  double tokens_per_second() const { return seconds == 0 ? 0 : static_cast<double>(tokens) / seconds; }
  double accepted() const { return stats.guessed == 0 ? 0 : static_cast<double>(stats.accepted) / stats.guessed; }
  // The share of guesses that are right where those before them are.
  double right() const { return stats.judged == 0 ? 0 : static_cast<double>(stats.accepted) / stats.judged; }
};

// A way to decode, over all turns.
struct Way {
  std::string name;
  SpeculationOptions options;
  GuessModel guesses;
  std::vector<std::unique_ptr<ModelRunner>> runners;
  std::unique_ptr<Engine> engine;
  std::vector<Turn> turns;

  double MedianStepSeconds() const {
    std::vector<double> seconds;
    for (const Turn& turn : turns) seconds.push_back(turn.PerStep(turn.seconds));
    return Median(seconds);
  }
};

class Bench {
 public:
  static absl::StatusOr<std::unique_ptr<Bench>> Create(const std::string& path);
  absl::StatusOr<Json> Run();

 private:
  absl::Status Load(const std::string& path);
  absl::Status CheckFlags();
  absl::Status StartEngine(Way* way);
  // Answers the prompts from `first` on, as many as there are streams.
  absl::StatusOr<Turn> TakeTurn(Engine* engine, size_t first);
  absl::Status Submit(Engine* engine, uint64_t id) const;
  Json Report() const;
  Json ReportOf(const Way& way) const;

  WorkerConfig config_;
  Metrics registry_;
  WorkerMetrics metrics_{&registry_, "model"};
  std::unique_ptr<ModelStore> store_;
  std::unique_ptr<Communicator> communicator_ = CreateLocalCommunicator();
  ShardModels models_;
  EngineOptions engine_;
  std::vector<Prompt> prompts_;
  std::vector<JudgedGuess> replayed_;
  std::vector<Way> ways_;
};

absl::StatusOr<std::unique_ptr<Bench>> Bench::Create(const std::string& path) {
  auto bench = std::make_unique<Bench>();
  RETURN_IF_ERROR(bench->Load(path));
  return bench;
}

absl::Status Bench::CheckFlags() {
  const std::string method = absl::GetFlag(FLAGS_method), rule = absl::GetFlag(FLAGS_rule);
  for (const auto known : {SpeculationMethod::kNgram, SpeculationMethod::kSelfQuantized, SpeculationMethod::kDraft}) {
    if (method == SpeculationMethodName(known)) config_.speculative_method = known;
  }
  const std::optional<WeightOptions> weights = ParseWeights(absl::GetFlag(FLAGS_weights));
  if (config_.speculative_method == SpeculationMethod::kNone || (rule != "coupled" && rule != "rejection") ||
      !weights.has_value() || absl::GetFlag(FLAGS_guesses) == 0 || absl::GetFlag(FLAGS_streams) == 0) {
    return absl::InvalidArgumentError("--method, --rule, --weights, --guesses or --streams: see --help for the values");
  }
  config_.weights = *weights;
  config_.speculative_rule = rule == "coupled" ? AcceptanceRule::kCoupled : AcceptanceRule::kRejection;

  const std::string replay = absl::GetFlag(FLAGS_replay_guesses);
  if (replay.empty() && absl::GetFlag(FLAGS_record_guesses).empty()) return absl::OkStatus();
  if (config_.speculative_method == SpeculationMethod::kNgram || absl::GetFlag(FLAGS_streams) != 1 ||
      absl::GetFlag(FLAGS_temperature) != 0) {
    return absl::InvalidArgumentError(
        "--record_guesses and --replay_guesses: of one stream of a draft model at temperature 0");
  }
  if (replay.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(replayed_, ReadJudgedGuesses(replay));
  return absl::OkStatus();
}

absl::Status Bench::Load(const std::string& path) {
  RETURN_IF_ERROR(CheckFlags());
  ASSIGN_OR_RETURN(std::shared_ptr<const Checkpoint> checkpoint, Checkpoint::Open(path));
  ASSIGN_OR_RETURN(prompts_, ReadPrompts(absl::GetFlag(FLAGS_prompts), checkpoint->config().vocab_size));
  std::shared_ptr<const Checkpoint> draft;
  if (!absl::GetFlag(FLAGS_draft).empty()) {
    ASSIGN_OR_RETURN(draft, Checkpoint::Open(absl::GetFlag(FLAGS_draft)));
  }
  if (!absl::GetFlag(FLAGS_prompts).empty()) engine_.eos_token_ids = checkpoint->text().eos_token_ids;
  size_t longest = 0;
  for (const Prompt& prompt : prompts_) longest = std::max(longest, prompt.size());
  engine_.max_model_len = static_cast<uint32_t>(longest) + absl::GetFlag(FLAGS_output_tokens) + 1;
  config_.max_model_len = engine_.max_model_len;
  auto backend = kernels::CreateCpuBackend({.threads = static_cast<int>(absl::GetFlag(FLAGS_threads))});
  store_ = std::make_unique<ModelStore>(config_, checkpoint, draft, std::move(backend), &metrics_);
  ASSIGN_OR_RETURN(models_, store_->Get(0, 1, [](double) {}));

  engine_.max_num_seqs = absl::GetFlag(FLAGS_streams);
  engine_.max_num_batched_tokens = std::max(512u, engine_.max_num_seqs * (absl::GetFlag(FLAGS_guesses) + 1));
  engine_.num_blocks = engine_.max_num_seqs * (engine_.max_model_len / engine_.block_size + 2);
  engine_.enable_prefix_caching = false;
  const KvCacheOptions cache = {config_.kv_cache, engine_.num_blocks, engine_.block_size};
  RETURN_IF_ERROR(models_.target->ResetKvCache(cache));
  const bool has_own_cache = config_.speculative_method == SpeculationMethod::kDraft;
  return has_own_cache ? models_.draft->ResetKvCache(cache) : absl::OkStatus();
}

absl::Status Bench::Submit(Engine* engine, uint64_t id) const {
  EngineRequest request = {.id = id};
  request.submit.mutable_prompt_tokens()->Add(prompts_[id].begin(), prompts_[id].end());
  v1::SamplingParams* sampling = request.submit.mutable_sampling();
  sampling->set_temperature(static_cast<float>(absl::GetFlag(FLAGS_temperature)));
  sampling->set_seed(id);
  sampling->set_top_p(1);
  sampling->set_repetition_penalty(1);
  sampling->set_max_tokens(absl::GetFlag(FLAGS_output_tokens));
  return engine->Submit(std::move(request));
}

absl::Status Bench::StartEngine(Way* way) {
  EngineOptions options = engine_;
  options.speculation = way->options;
  const auto runner = [way](std::unique_ptr<ModelRunner> made) {
    way->runners.push_back(std::move(made));
    return way->runners.back().get();
  };
  ModelRunner* target = runner(std::make_unique<GroupRunner>(models_.target, communicator_.get(), absl::Seconds(60)));
  ModelRunner* draft = nullptr;
  if (models_.draft != nullptr) {
    draft =
        runner(std::make_unique<GroupRunner>(models_.draft, communicator_.get(), absl::Seconds(60), PlanModel::kDraft));
  }
  const bool is_modelled = !replayed_.empty() || !absl::GetFlag(FLAGS_record_guesses).empty();
  if (is_modelled && way->options.method != SpeculationMethod::kNone) {
    way->guesses = GuessModel(replayed_);
    target = runner(std::make_unique<ModelledTarget>(target, &way->guesses));
    draft = runner(std::make_unique<ModelledDraft>(draft, &way->guesses));
  }
  ASSIGN_OR_RETURN(way->engine, Engine::Create(options, target, &Clock::Real(), draft));
  return absl::OkStatus();
}

absl::StatusOr<Turn> Bench::TakeTurn(Engine* engine, size_t first) {
  const size_t end = std::min(prompts_.size(), first + absl::GetFlag(FLAGS_streams));
  for (uint64_t id = first; id < end; ++id) RETURN_IF_ERROR(Submit(engine, id));
  const SpeculationStats before = engine->stats().speculation;
  Turn turn;
  while (engine->HasWork()) {
    std::vector<EngineOutput> outputs;
    bool worked = false;
    RETURN_IF_ERROR(engine->Step(&outputs, &worked));
    const StepTimes& step = engine->last_step();
    if (step.prefill_tokens > 0) continue;
    ++turn.steps;
    turn.tokens += step.decode_tokens;
    turn.seconds += step.schedule + step.draft + step.run + step.sample;
    turn.draft_seconds += step.draft;
    turn.verify_seconds += step.run + step.sample;
  }
  const SpeculationStats& after = engine->stats().speculation;
  turn.stats.guessed = after.guessed - before.guessed;
  turn.stats.judged = after.judged - before.judged;
  turn.stats.accepted = after.accepted - before.accepted;
  return turn;
}

absl::StatusOr<Json> Bench::Run() {
  SpeculationOptions speculation = {config_.speculative_method, config_.speculative_rule, absl::GetFlag(FLAGS_guesses)};
  ways_.resize(3);
  ways_[0].name = "plain";
  ways_[1].name = "adaptive";
  ways_[1].options = speculation;
  ways_[2].name = "fixed";
  ways_[2].options = speculation;
  ways_[2].options.adapts = false;
  for (Way& way : ways_) RETURN_IF_ERROR(StartEngine(&way));
  bool is_forward = true;  // A B C C B A: what the machine does meanwhile meets all ways alike
  for (uint32_t round = 0; round < std::max(1u, absl::GetFlag(FLAGS_rounds)); ++round) {
    for (size_t first = 0; first < prompts_.size(); first += absl::GetFlag(FLAGS_streams)) {
      for (size_t i = 0; i < ways_.size(); ++i) {
        Way& way = ways_[is_forward ? i : ways_.size() - 1 - i];
        ASSIGN_OR_RETURN(Turn turn, TakeTurn(way.engine.get(), first));
        way.turns.push_back(turn);
      }
      is_forward = !is_forward;
    }
  }
  const std::string record = absl::GetFlag(FLAGS_record_guesses);
  if (!record.empty()) RETURN_IF_ERROR(WriteJudgedGuesses(record, ways_[2].guesses.recorded()));
  return Report();
}

// The tokens of a step of `depth` guesses, each right with probability `right` if those before it are.
double ExpectedTokens(uint32_t depth, double right) {
  double expected = 1, all_right = right;
  for (uint32_t i = 0; i < depth; ++i, all_right *= right) expected += all_right;
  return expected;
}

Json Bench::ReportOf(const Way& way) const {
  std::vector<double> ratios;  // of turns taken one after the other
  Turn all;
  for (size_t i = 0; i < way.turns.size(); ++i) {
    const double plain = ways_[0].turns[i].tokens_per_second();
    if (plain > 0) ratios.push_back(way.turns[i].tokens_per_second() / plain);
    all.Add(way.turns[i]);
  }
  return {{"name", way.name},
          {"tokens_per_second", all.tokens_per_second()},
          {"speedup", Median(ratios)},
          {"speedup_quarter", Quantile(ratios, 0.25)},
          {"speedup_three_quarters", Quantile(ratios, 0.75)},
          {"pairs", ratios.size()},
          {"accepted", all.accepted()},
          {"right_of_judged", all.right()},
          {"guesses_per_step", all.PerStep(static_cast<double>(all.stats.guessed))},
          {"tokens_per_step", all.PerStep(static_cast<double>(all.tokens))},
          {"step_ms", 1e3 * all.PerStep(all.seconds)},
          {"draft_ms", 1e3 * all.PerStep(all.draft_seconds)},
          {"verify_ms", 1e3 * all.PerStep(all.verify_seconds)}};
}

Json Bench::Report() const {
  Json report = {{"method", SpeculationMethodName(config_.speculative_method)},
                 {"guesses", absl::GetFlag(FLAGS_guesses)},
                 {"streams", absl::GetFlag(FLAGS_streams)},
                 {"temperature", absl::GetFlag(FLAGS_temperature)},
                 {"guesses_are_replayed", !replayed_.empty()},
                 {"ways", Json::array()}};
  for (const Way& way : ways_) report["ways"].push_back(ReportOf(way));
  // What steps with all guesses would give at any acceptance, by what such steps cost; and at the one measured.
  const double cost = ways_[2].MedianStepSeconds() / ways_[0].MedianStepSeconds();
  const uint32_t depth = absl::GetFlag(FLAGS_guesses);
  report["predicted_speedup"] = ExpectedTokens(depth, report["ways"].back()["right_of_judged"]) / cost;
  for (int percent = 0; percent <= 100; percent += 10) {
    report["curve"].push_back({{"right_percent", percent}, {"speedup", ExpectedTokens(depth, percent / 100.0) / cost}});
  }
  return report;
}

void PrintTables(const Json& report) {
  std::printf("%s, up to %u guesses, %u streams, temperature %g%s\n", report["method"].get<std::string>().c_str(),
              report["guesses"].get<uint32_t>(), report["streams"].get<uint32_t>(), report["temperature"].get<double>(),
              report["guesses_are_replayed"].get<bool>() ? ", guesses right as recorded elsewhere" : "");
  std::printf("%-10s %9s %26s %9s %7s %13s %12s %8s %9s %10s\n", "", "tokens/s", "speedup, middle half, pairs",
              "accepted", "right", "guesses/step", "tokens/step", "step ms", "draft ms", "verify ms");
  for (const Json& way : report["ways"]) {
    const auto figure = [&way](const char* name) { return way[name].get<double>(); };
    std::printf("%-10s %9.1f %8.2f  %5.2f - %5.2f %4.0f %8.1f%% %6.1f%% %13.2f %12.2f %8.2f %9.2f %10.2f\n",
                way["name"].get<std::string>().c_str(), figure("tokens_per_second"), figure("speedup"),
                figure("speedup_quarter"), figure("speedup_three_quarters"), figure("pairs"), 100 * figure("accepted"),
                100 * figure("right_of_judged"), figure("guesses_per_step"), figure("tokens_per_step"),
                figure("step_ms"), figure("draft_ms"), figure("verify_ms"));
  }
  std::printf("by these costs, with all guesses made (at the measured share of right ones: %.2f):\n",
              report["predicted_speedup"].get<double>());
  for (const Json& point : report["curve"]) {
    std::printf("  a guess right in %3d %%: %.2f times as fast\n", point["right_percent"].get<int>(),
                point["speedup"].get<double>());
  }
}

absl::Status Main(const std::vector<std::string>& paths) {
  if (paths.size() != 1) return absl::InvalidArgumentError("name one model: speculation-bench PATH");
  ASSIGN_OR_RETURN(const std::unique_ptr<Bench> bench, Bench::Create(paths[0]));
  ASSIGN_OR_RETURN(const Json report, bench->Run());
  if (absl::GetFlag(FLAGS_json)) {
    std::printf("%s\n", report.dump().c_str());
  } else {
    PrintTables(report);
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace slmmesh

int main(int argc, char** argv) {
  const std::vector<std::string> paths = slmmesh::ParseFlags(
      argc, argv, "speculation-bench", "Times decoding with and without speculation: speculation-bench PATH.");
  const absl::Status status = slmmesh::Main(paths);
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  return status.code() == absl::StatusCode::kInvalidArgument ? 2 : 1;
}
