#include "cli/model_program.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace slmmesh {
namespace {

using ::testing::IsNull;
using ::testing::StrEq;

const char* ProgramOf(std::vector<std::string> arguments) {
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  return ModelProgramOf(argv.data());
}

TEST(ModelProgramTest, EachSubcommandThatNeedsAModelHasAProgram) {
  EXPECT_THAT(ProgramOf({"mesh", "convert", "in", "out"}), StrEq("mesh-model"));
  EXPECT_THAT(ProgramOf({"mesh", "evaluate", "--speculative"}), StrEq("mesh-model"));
  EXPECT_THAT(ProgramOf({"mesh", "bench", "--json", "--speculative", "model"}), StrEq("speculation-bench"));
}

TEST(ModelProgramTest, OthersAreMeshsOwn) {
  EXPECT_THAT(ProgramOf({"mesh"}), IsNull());
  EXPECT_THAT(ProgramOf({"mesh", "bench", "--streams", "8"}), IsNull());
  EXPECT_THAT(ProgramOf({"mesh", "chat", "--message", "--speculative"}), IsNull());
}

}  // namespace
}  // namespace slmmesh
