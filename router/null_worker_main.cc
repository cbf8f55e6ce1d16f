// mesh-null-worker: see null_worker.h.
#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "common/files.h"
#include "common/flags.h"
#include "common/log.h"
#include "common/signals.h"
#include "common/status.h"
#include "router/null_worker.h"
#include "router/testing/byte_tokenizer.h"

ABSL_FLAG(std::string, listen, "127.0.0.1:0", "host:port of the worker's gRPC service; port 0 takes a free one");
ABSL_FLAG(std::string, head, "", "host:port of the head");
ABSL_FLAG(std::string, tls_dir, "", "folder with this worker's tls.crt, tls.key and the cluster's ca.crt");
ABSL_FLAG(std::string, cluster, "", "the cluster's name; default: as in the certificate");
ABSL_FLAG(std::string, worker_id, "", "this worker's name; default: the pod of the certificate");
ABSL_FLAG(std::string, worker_group, "null", "the worker group it belongs to");
ABSL_FLAG(std::string, served_model_name, "null", "the model's name for clients");
ABSL_FLAG(std::string, tokenizer, "", "a tokenizer.json; empty: one token a byte");
ABSL_FLAG(uint32_t, tokens, 16, "tokens of an answer, where max_tokens allows; 1 to 65536");
ABSL_FLAG(std::string, address_file, "", "written when listening: a line grpc= with host:port");
ABSL_FLAG(uint32_t, max_model_len, 8192, "the context that is claimed");

namespace slmmesh {
namespace {

absl::StatusOr<v1::ModelInfo> ModelFromFlags() {
  v1::ModelInfo model;
  model.set_served_name(absl::GetFlag(FLAGS_served_model_name));
  model.set_architecture("null");
  model.set_max_model_len(absl::GetFlag(FLAGS_max_model_len));
  model.set_block_size(16);
  model.set_tokenizer_json(ByteTokenizerJson());
  if (const std::string path = absl::GetFlag(FLAGS_tokenizer); !path.empty()) {
    ASSIGN_OR_RETURN(*model.mutable_tokenizer_json(), ReadFile(path));
  }
  model.set_chat_template(ChatMlTemplate());
  const std::string& json = model.tokenizer_json();
  model.set_digest(Sha256Hex({reinterpret_cast<const uint8_t*>(json.data()), json.size()}));
  return model;
}

absl::Status Run() {
  NullWorker::Options options;
  options.listen = absl::GetFlag(FLAGS_listen);
  options.head_address = absl::GetFlag(FLAGS_head);
  if (options.head_address.empty()) return absl::InvalidArgumentError("--head: missing; give the head's host:port");
  if (absl::GetFlag(FLAGS_tls_dir).empty()) return absl::InvalidArgumentError("--tls-dir: missing; give the folder");
  options.tls = TlsFilesIn(absl::GetFlag(FLAGS_tls_dir));
  ASSIGN_OR_RETURN(const Identity identity, ReadIdentity(options.tls));
  options.cluster = absl::GetFlag(FLAGS_cluster).empty() ? identity.cluster : absl::GetFlag(FLAGS_cluster);
  options.worker_id = absl::GetFlag(FLAGS_worker_id).empty() ? identity.pod : absl::GetFlag(FLAGS_worker_id);
  options.worker_group = absl::GetFlag(FLAGS_worker_group);
  options.tokens = absl::GetFlag(FLAGS_tokens);
  if (options.tokens < 1 || options.tokens > 65536) return absl::InvalidArgumentError("--tokens: give 1 to 65536");
  ASSIGN_OR_RETURN(options.model, ModelFromFlags());
  ASSIGN_OR_RETURN(const std::unique_ptr<NullWorker> worker, NullWorker::Start(std::move(options)));
  if (const std::string path = absl::GetFlag(FLAGS_address_file); !path.empty()) {
    RETURN_IF_ERROR(WriteFileAtomic(path, absl::StrCat("grpc=", worker->address(), "\n")));
  }
  WaitForStopSignal();
  return absl::OkStatus();
}

}  // namespace
}  // namespace slmmesh

int main(int argc, char** argv) {
  slmmesh::BlockStopSignals();
  slmmesh::ParseFlags(argc, argv, "mesh-null-worker",
                      "A worker without a model, for measuring the router alone: answers every request at once.");
  const absl::Status status = slmmesh::Run();
  if (status.ok()) return 0;
  slmmesh::LogError("null_worker.failed", {{"reason", status}});
  return 1;
}
