#include "cli/model_program.h"

#include <errno.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <vector>

#include "absl/strings/str_cat.h"

namespace slmmesh {
namespace {

constexpr const char* kSpeculative = "--speculative";

bool Is(const char* argument, const char* text) { return std::strcmp(argument, text) == 0; }

bool IsSpeculativeBench(char** argv) {
  if (!Is(argv[1], "bench")) return false;
  for (char** argument = argv + 2; *argument != nullptr; ++argument) {
    if (Is(*argument, kSpeculative)) return true;
  }
  return false;
}

}  // namespace

const char* ModelProgramOf(char** argv) {
  if (argv[0] == nullptr || argv[1] == nullptr) return nullptr;
  if (Is(argv[1], "convert") || Is(argv[1], "evaluate")) return "mesh-model";
  return IsSpeculativeBench(argv) ? "speculation-bench" : nullptr;
}

absl::Status BecomeModelProgram(char** argv) {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::string program = (self.parent_path() / ModelProgramOf(argv)).string();
  std::vector<char*> arguments;
  for (char** argument = argv; *argument != nullptr; ++argument) {
    const bool names_program = IsSpeculativeBench(argv) && (argument == argv + 1 || Is(*argument, kSpeculative));
    if (!names_program) arguments.push_back(*argument);
  }
  arguments.push_back(nullptr);
  execv(program.c_str(), arguments.data());
  return absl::NotFoundError(
      absl::StrCat(program, ": cannot be executed: ", std::strerror(errno), " (is it built beside mesh?)"));
}

}  // namespace slmmesh
