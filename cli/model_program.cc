#include "cli/model_program.h"

#include <errno.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "absl/strings/str_cat.h"

namespace slmmesh {

bool IsModelCommand(const char* name) {
  return std::strcmp(name, "convert") == 0 || std::strcmp(name, "evaluate") == 0;
}

absl::Status BecomeModelProgram(char** argv) {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::string program = (self.parent_path() / "mesh-model").string();
  execv(program.c_str(), argv);
  return absl::NotFoundError(
      absl::StrCat(program, ": cannot be executed: ", std::strerror(errno), " (is it built beside mesh?)"));
}

}  // namespace slmmesh
