// `mesh bench`: a closed loop of streaming completions against an OpenAI-compatible server; prints what clients saw.
// Prompts are random token ids of an exact length, different in every request, so no prefix cache helps.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace slmmesh {

struct BenchOptions {
  std::string name;  // of a mesh that runs here; unused with a url
  std::string url;
  std::string model;
  int streams = 8;
  int requests = 32;  // in all
  int prompt_tokens = 128;
  int output_tokens = 64;
  uint32_t vocabulary = 4000;  // prompt ids are drawn below it
  uint64_t seed = 1;
  bool json = false;
};

absl::Status Bench(BenchOptions options);

}  // namespace slmmesh
