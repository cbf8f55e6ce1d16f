// mesh: the operations of a mesh on this machine, for a person.
#include <CLI/CLI.hpp>
#include <iostream>

#include "cli/bench.h"
#include "cli/chat.h"
#include "cli/control.h"
#include "cli/import.h"
#include "cli/issue.h"
#include "cli/model_program.h"
#include "cli/up.h"
#include "common/signals.h"

namespace slmmesh {
namespace {

void AddUp(CLI::App& app, UpOptions& options) {
  CLI::App* up = app.add_subcommand("up", "start the mesh of a manifest on this machine");
  up->add_option("-f,--file", options.manifest, "an InferenceCluster manifest")->required();
  up->add_flag("--detach", options.detach, "return when the mesh is ready; mesh down stops it");
  up->add_option("--ready-timeout-seconds", options.ready_timeout_seconds, "give up when it is not ready by then")
      ->check(CLI::PositiveNumber);
  up->add_option("--isa", options.isa, "the workers' instruction set")
      ->check(CLI::IsMember({"auto", "reference", "avx2", "avx512", "avx512bf16"}));
}

void AddChat(CLI::App& app, ChatOptions& options) {
  CLI::App* chat = app.add_subcommand("chat", "talk to the model at the terminal");
  chat->add_option("--name", options.name, "which mesh, when several run here");
  chat->add_option("--url", options.url, "a router elsewhere, http://host:port");
  chat->add_option("--model", options.model, "the served name; the running mesh's own when absent");
  chat->add_option("--api-key", options.api_key, "the bearer token of a router that wants one")
      ->envname("MESH_API_KEY");
  chat->add_option("--ca-file", options.ca_file, "PEM certificates to trust for https");
  chat->add_option("--system", options.system, "a system message");
  chat->add_option("-m,--message", options.message, "ask this and end");
  chat->add_option("--temperature", options.temperature, "below 0: the server's default");
  chat->add_option("--max-tokens", options.max_tokens, "0: the server's default");
}

void AddBench(CLI::App& app, BenchOptions& options) {
  CLI::App* bench = app.add_subcommand("bench", "load a router with streams and say what clients saw");
  bench->add_option("--name", options.name, "which mesh, when several run here");
  bench->add_option("--url", options.url, "a server elsewhere, http://host:port");
  bench->add_option("--model", options.model, "the served name; the running mesh's own when absent");
  bench->add_option("--streams", options.streams, "at the same time")->check(CLI::Range(1, 1024));
  bench->add_option("--requests", options.requests, "in all")->check(CLI::Range(1, 1000000));
  bench->add_option("--prompt-tokens", options.prompt_tokens, "of each request")->check(CLI::Range(1, 1000000));
  bench->add_option("--output-tokens", options.output_tokens, "of each request")->check(CLI::Range(1, 1000000));
  bench->add_option("--vocabulary", options.vocabulary, "prompt ids are drawn from 100 up to this");
  bench->add_option("--seed", options.seed, "of the prompts");
  bench->add_flag("--json", options.json, "one JSON object instead of a line");
  bench->add_flag("--speculative")
      ->description("instead: what speculation is worth here; bench --speculative --help lists its flags");
}

void AddIssue(CLI::App& app, IssueOptions& options) {
  CLI::App* issue = app.add_subcommand("issue", "certificates for running the programs by hand");
  issue->add_option("--cluster", options.cluster, "the cluster that they name")->required();
  issue->add_option("--folder", options.folder, "gets NAME/{tls.crt,tls.key,ca.crt}")->required();
  issue->add_option("--days", options.days, "how long they are valid")->check(CLI::Range(1, 3650));
  issue->add_option("identities", options.identities, "role:name, such as worker:cpu-0")->required();
}

void AddImport(CLI::App& app, ImportCommandOptions& options) {
  CLI::App* import = app.add_subcommand("import", "turn a KubeRay RayCluster into an InferenceCluster");
  import->add_option("file", options.file, "the RayCluster, YAML or JSON; - for standard input")->required();
  import->add_option("-o,--output", options.output, "the file to write; standard output when absent");
  import->add_option("--model-path", options.model_path, "the model in the worker pods, such as /models/llama-3-8b");
  import->add_option("--served-name", options.served_name, "what clients ask for; the cluster's name when absent");
  import->add_option("--tensor-parallel-size", options.tensor_parallel_size, "pods that share one model; 0: decide")
      ->check(CLI::IsMember({0, 1, 2, 4, 8}));
}

int Main(int argc, char** argv) {
  if (ModelProgramOf(argv) != nullptr) {
    std::cerr << "mesh " << argv[1] << ": " << BecomeModelProgram(argv).message() << "\n";
    return 1;
  }
  BlockStopSignals();
  CLI::App app("mesh: an LLM serving mesh on this machine", "mesh");
  app.require_subcommand(1);
  app.option_defaults()->always_capture_default();
  UpOptions up;
  ChatOptions chat;
  BenchOptions bench;
  IssueOptions issue;
  ImportCommandOptions import;
  LogsOptions logs;
  std::string name;
  double down_timeout_seconds = 60;
  bool json = false;
  AddUp(app, up);
  CLI::App* down = app.add_subcommand("down", "stop a mesh that runs here");
  down->add_option("--name", name, "which mesh, when several run here");
  down->add_option("--timeout-seconds", down_timeout_seconds, "how long to wait for it");
  CLI::App* status = app.add_subcommand("status", "processes, groups, epochs and load");
  status->add_option("--name", name, "which mesh, when several run here");
  status->add_flag("--json", json, "the head's table as JSON");
  AddChat(app, chat);
  AddBench(app, bench);
  AddIssue(app, issue);
  AddImport(app, import);
  app.add_subcommand("convert", "quantize a checkpoint into a new folder");
  app.add_subcommand("evaluate", "a model's perplexity on a text, and its distance to a reference");
  CLI::App* log = app.add_subcommand("logs", "the processes' logs");
  log->add_option("process", logs.process, "one process, such as head or router-0; all when absent");
  log->add_option("--name", logs.name, "which mesh, when several run here");
  log->add_option("-n,--lines", logs.lines, "how many of each log's last lines");
  log->add_flag("-f,--follow", logs.follow, "go on until the mesh stops");
  CLI11_PARSE(app, argc, argv);

  absl::Status result;
  if (app.got_subcommand("up")) result = Up(up);
  if (app.got_subcommand("down")) result = Down(name, down_timeout_seconds);
  if (app.got_subcommand("status")) result = PrintStatus(name, json);
  if (app.got_subcommand("chat")) result = Chat(chat);
  if (app.got_subcommand("bench")) result = Bench(bench);
  if (app.got_subcommand("issue")) result = Issue(issue);
  if (app.got_subcommand("import")) result = Import(import);
  if (app.got_subcommand("logs")) result = PrintLogs(logs);
  if (result.ok()) return 0;
  std::cerr << "mesh " << app.get_subcommands()[0]->get_name() << ": " << result.message() << "\n";
  return 1;
}

}  // namespace
}  // namespace slmmesh

int main(int argc, char** argv) { return slmmesh::Main(argc, argv); }
