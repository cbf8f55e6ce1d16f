// All that a worker is told at its start.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/tls.h"
#include "kernels/backend.h"
#include "worker/engine/speculation.h"
#include "worker/model/matrix_format.h"

namespace slmmesh {

struct WorkerConfig {
  std::string model;  // a Hugging Face folder or a GGUF file
  std::string served_model_name;
  std::string sha256;
  WeightOptions weights;  // bf16
  kernels::KvType kv_cache = kernels::KvType::kBFloat16;
  int64_t max_model_len = 0;  // 0: the model's own
  int tensor_parallel_size = 1;
  uint32_t block_size = 16;
  uint32_t max_num_seqs = 64;
  uint32_t max_num_batched_tokens = 512;
  bool enable_prefix_caching = true;
  SpeculationMethod speculative_method = SpeculationMethod::kNone;
  AcceptanceRule speculative_rule = AcceptanceRule::kCoupled;
  std::string speculative_model;  // a Hugging Face folder or a GGUF file; empty with self-quantized: rounded at load
  uint32_t num_speculative_tokens = 5;
  absl::Duration target_step = absl::Milliseconds(50);  // 0: none
  double memory_utilization = 0.9;
  kernels::CpuOptions cpu;

  std::string head;
  std::string listen = "127.0.0.1:0";
  std::string exchange_listen = "127.0.0.1:0";
  std::string admin_listen;  // empty: none
  std::string advertise_host;
  std::string address_file;
  TlsFiles tls;
  std::string cluster;
  std::string worker_id;
  std::string worker_group;
  std::string revision;
  absl::Duration step_timeout = absl::Seconds(30);
  absl::Duration join_timeout = absl::Minutes(5);
  absl::Duration drain_timeout = absl::Seconds(5);
};

}  // namespace slmmesh
