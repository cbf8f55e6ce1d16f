// mesh-model: what is done to a model away from serving. `mesh convert` and `mesh evaluate` run it.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/status.h"
#include "worker/offline/convert.h"
#include "worker/offline/evaluate.h"

namespace slmmesh {
namespace {

// A line that changes in place, on a terminal alone.
std::function<void(double)> Progress(const char* what) {
  if (isatty(STDERR_FILENO) == 0) return nullptr;
  return [what, last = -1](double fraction) mutable {
    const int percent = static_cast<int>(fraction * 100);
    if (percent == last) return;
    last = percent;
    std::cerr << "\r" << what << " " << percent << " %" << (percent == 100 ? "\n" : "") << std::flush;
  };
}

struct ConvertArguments {
  ConvertOptions options;
  std::string weights = "int4";
  int threads = 0;
};

void AddConvert(CLI::App& app, ConvertArguments& arguments) {
  CLI::App* convert = app.add_subcommand("convert", "quantize a checkpoint into a new folder (compressed-tensors)");
  convert->add_option("input", arguments.options.input, "a Hugging Face folder or a .gguf file")->required();
  convert->add_option("output", arguments.options.output, "the folder to make")->required();
  convert->add_option("--weights", arguments.weights, "of the layers' projections")
      ->check(CLI::IsMember({"int4", "int8", "fp8"}));
  convert->add_option("--group", arguments.options.group,
                      "columns that share a scale; 0: a whole row; -1: 128, 64 or 32 for int4, a row for the others");
  CLI::Option* calibrate = convert->add_option("--calibrate", arguments.options.calibration_text,
                                               "GPTQ instead of rounding: a text in UTF-8 like those to come");
  convert->add_option("--calibrate-tokens", arguments.options.calibration_tokens, "how much of its beginning to read")
      ->check(CLI::Range(int64_t{512}, int64_t{1} << 24))
      ->needs(calibrate);
  convert->add_option("--threads", arguments.threads, "0: as many as there are processors")->check(CLI::Range(0, 256));
}

absl::Status RunConvert(ConvertArguments& arguments) {
  ConvertOptions& options = arguments.options;
  options.weights = *ParseStoredWeights(arguments.weights);
  options.threads =
      arguments.threads != 0 ? arguments.threads : static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  options.progress = Progress("quantizing");
  RETURN_IF_ERROR(Convert(options));
  std::cout << options.output << " is ready\n";
  return absl::OkStatus();
}

struct EvaluateArguments {
  EvaluateOptions options;
  std::string weights = "auto";
  std::string reference_weights = "bf16";
  std::string isa = "auto";
  bool json = false;
};

void AddEvaluate(CLI::App& app, EvaluateArguments& arguments) {
  EvaluateOptions& options = arguments.options;
  CLI::App* evaluate =
      app.add_subcommand("evaluate", "a model's perplexity on a text, and its distance to a reference");
  evaluate->add_option("model", options.model, "a Hugging Face folder or a .gguf file")->required();
  evaluate->add_option("--reference", options.reference, "another one, of the same vocabulary");
  evaluate->add_option("--text", options.text, "a file in UTF-8")->required();
  evaluate->add_option("--weights", arguments.weights, "how the model's weights are kept in memory, as a worker does");
  evaluate->add_option("--reference-weights", arguments.reference_weights, "the same of the reference");
  evaluate->add_option("--context", options.context, "tokens of a window; those of its second half are predicted");
  evaluate->add_option("--tokens", options.tokens, "how much of the text's beginning to read")
      ->check(CLI::Range(int64_t{16}, int64_t{1} << 24));
  evaluate->add_option("--threads", options.cpu.threads, "0: as many as there are processors")
      ->check(CLI::Range(0, 256));
  evaluate->add_option("--isa", arguments.isa, "the instruction set; auto: the best of this machine");
  evaluate->add_flag("--json", arguments.json, "one JSON object instead of a table");
}

absl::StatusOr<WeightOptions> WeightsOf(const char* knob, const std::string& text) {
  const std::optional<WeightOptions> weights = ParseWeights(text);
  if (weights.has_value()) return *weights;
  return absl::InvalidArgumentError(absl::StrCat(knob, " is ", text, "; expected auto, bf16, fp32, int8 or int4"));
}

absl::Status SetIsa(const std::string& isa, kernels::CpuOptions* cpu) {
  if (isa == "auto") return absl::OkStatus();
  cpu->automatic_isa = false;
  std::string names = "auto";
  for (const kernels::Isa supported : kernels::SupportedIsas()) {
    cpu->isa = supported;
    if (isa == kernels::IsaName(supported)) return absl::OkStatus();
    absl::StrAppend(&names, ", ", kernels::IsaName(supported));
  }
  return absl::InvalidArgumentError(absl::StrCat("--isa is ", isa, "; expected one of ", names));
}

void PrintTable(const EvaluationSummary& summary, bool has_reference) {
  std::cout << absl::StrFormat("tokens predicted       %d\nperplexity             %.4f ± %.4f\n", summary.tokens,
                               summary.perplexity, summary.perplexity_error);
  if (!has_reference) return;
  std::cout << absl::StrFormat(
      "reference perplexity   %.4f\nKL divergence, mean    %.6f ± %.6f\nKL divergence, p99     %.6f\n"
      "KL divergence, most    %.6f\nsame first choice      %.2f %%\n",
      summary.reference_perplexity, summary.mean_divergence, summary.mean_divergence_error, summary.divergence_p99,
      summary.max_divergence, 100 * summary.same_top_share);
}

void PrintJson(const EvaluationSummary& summary, bool has_reference) {
  nlohmann::ordered_json json = {
      {"tokens", summary.tokens}, {"perplexity", summary.perplexity}, {"perplexity_error", summary.perplexity_error}};
  if (has_reference) {
    json["reference_perplexity"] = summary.reference_perplexity;
    json["kl_divergence"] = summary.mean_divergence;
    json["kl_divergence_error"] = summary.mean_divergence_error;
    json["kl_divergence_p99"] = summary.divergence_p99;
    json["kl_divergence_max"] = summary.max_divergence;
    json["same_first_choice"] = summary.same_top_share;
  }
  std::cout << json.dump() << "\n";
}

absl::Status RunEvaluate(EvaluateArguments& arguments) {
  EvaluateOptions& options = arguments.options;
  ASSIGN_OR_RETURN(options.weights, WeightsOf("--weights", arguments.weights));
  ASSIGN_OR_RETURN(options.reference_weights, WeightsOf("--reference-weights", arguments.reference_weights));
  RETURN_IF_ERROR(SetIsa(arguments.isa, &options.cpu));
  options.progress = Progress("reading");
  ASSIGN_OR_RETURN(const EvaluationSummary summary, Evaluate(options));
  const bool has_reference = !options.reference.empty();
  arguments.json ? PrintJson(summary, has_reference) : PrintTable(summary, has_reference);
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  CLI::App app("mesh: an LLM serving mesh on this machine", "mesh");
  app.require_subcommand(1);
  app.option_defaults()->always_capture_default();
  ConvertArguments convert;
  EvaluateArguments evaluate;
  AddConvert(app, convert);
  AddEvaluate(app, evaluate);
  CLI11_PARSE(app, argc, argv);
  const absl::Status result = app.got_subcommand("convert") ? RunConvert(convert) : RunEvaluate(evaluate);
  if (result.ok()) return 0;
  std::cerr << "mesh " << app.get_subcommands()[0]->get_name() << ": " << result.message() << "\n";
  return 1;
}

}  // namespace
}  // namespace slmmesh

int main(int argc, char** argv) { return slmmesh::Main(argc, argv); }
