// YAML into a protobuf message, strictly: every key must be a field (JSON name), every value of its type. Errors read
// `file:line: path: what is wrong; what to write instead`.
#pragma once

#include <google/protobuf/message.h>

#include <map>
#include <string>

#include "absl/status/status.h"

namespace slmmesh {

// Where each field of the message was written: "spec.model.path" → line, 1-based. Absent fields are not in it.
struct FieldLines {
  std::string file;
  std::map<std::string, int> lines;

  // INVALID_ARGUMENT `file:line: path: problem`; a field that was not written takes the line of its nearest parent.
  absl::Status Error(const std::string& path, const std::string& problem) const;
};

// Other spellings of a key: {"gpuMemoryUtilization", "memoryUtilization"}.
using KeyAliases = std::map<std::string, std::string>;

// Reads the single YAML document `text` into `message`. `file` is for errors.
absl::Status ParseYamlMessage(const std::string& text, const std::string& file, const KeyAliases& aliases,
                              google::protobuf::Message* message, FieldLines* lines);

}  // namespace slmmesh
