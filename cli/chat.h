// `mesh chat`: a conversation at the terminal, streamed from a router.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace slmmesh {

struct ChatOptions {
  std::string name;  // of a mesh that runs here; unused with a url
  std::string url;
  std::string model;
  std::string api_key;
  std::string ca_file;
  std::string system;
  std::string message;      // ask this one thing, then end; empty: read from the terminal
  double temperature = -1;  // below 0: the server's default
  int max_tokens = 0;       // 0: the server's default
};

absl::Status Chat(ChatOptions options);

}  // namespace slmmesh
