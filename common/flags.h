// Command-line knobs on abseil flags: a knob's name, default and help stand in one place (the program's flags.cc).
// --help lists every knob of the program with its default; an unknown knob is refused.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace slmmesh {

// Parses, prints help and exits where asked, exits 2 on an unknown knob or a bad value. Defines --log-format
// (text | json) and --log-level (debug | info | warning | error) and applies them. Returns the positional arguments.
// `program` is the binary's name; `usage` one or two sentences. Flags may be spelled with - or _.
std::vector<std::string> ParseFlags(int argc, char** argv, const std::string& program, const std::string& usage);

// What ParseFlags is made of, without exits. `--name value`, `--name=value`, `--switch`, `--no-switch`; `--` ends the
// knobs. Sets the flags and returns the positional arguments.
absl::StatusOr<std::vector<std::string>> ParseArguments(const std::vector<std::string>& arguments);
std::string FlagsHelp(const std::string& program, const std::string& usage);

}  // namespace slmmesh
