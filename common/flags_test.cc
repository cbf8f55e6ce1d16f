#include "common/flags.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"

ABSL_FLAG(int, max_model_len, 2048, "prompt and output together, in tokens");
ABSL_FLAG(std::string, served_name, "model", "name that clients ask for");
ABSL_FLAG(bool, eager, true, "start at once");

namespace slmmesh {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

TEST(FlagsTest, DashesAndUnderscoresAreTheSame) {
  ASSERT_TRUE(ParseArguments({"--max-model-len", "5"}).ok());
  EXPECT_EQ(absl::GetFlag(FLAGS_max_model_len), 5);
  ASSERT_TRUE(ParseArguments({"--max_model_len=6"}).ok());
  EXPECT_EQ(absl::GetFlag(FLAGS_max_model_len), 6);
}

TEST(FlagsTest, ValuesAreTakenAsTheyAre) {
  ASSERT_TRUE(ParseArguments({"--served-name", "--a_b-c=d"}).ok());
  EXPECT_EQ(absl::GetFlag(FLAGS_served_name), "--a_b-c=d");
  ASSERT_TRUE(ParseArguments({"--max-model-len", "-1"}).ok());
  EXPECT_EQ(absl::GetFlag(FLAGS_max_model_len), -1);
  ASSERT_TRUE(ParseArguments({"--served-name="}).ok());
  EXPECT_EQ(absl::GetFlag(FLAGS_served_name), "");
}

TEST(FlagsTest, SwitchesCanBeNegatedBothWays) {
  for (const char* off : {"--noeager", "--no-eager", "--no_eager", "--eager=false"}) {
    absl::SetFlag(&FLAGS_eager, true);
    ASSERT_TRUE(ParseArguments({off}).ok()) << off;
    EXPECT_FALSE(absl::GetFlag(FLAGS_eager)) << off;
  }
  const auto positional = ParseArguments({"--eager", "false"});  // a switch takes no second word
  ASSERT_TRUE(positional.ok());
  EXPECT_TRUE(absl::GetFlag(FLAGS_eager));
  EXPECT_THAT(*positional, ElementsAre("false"));
}

TEST(FlagsTest, PositionalsAndTheEndOfKnobs) {
  const auto positional = ParseArguments({"up", "-", "--eager", "x", "--", "--max-model-len"});
  ASSERT_TRUE(positional.ok());
  EXPECT_THAT(*positional, ElementsAre("up", "-", "x", "--max-model-len"));
}

TEST(FlagsTest, ErrorsNameTheKnobAndTheFix) {
  EXPECT_EQ(ParseArguments({"--max-modle-len=5"}).status().message(),
            "unknown knob --max-modle-len; did you mean --max-model-len?");
  EXPECT_EQ(ParseArguments({"--zzzzzzzzzz"}).status().message(), "unknown knob --zzzzzzzzzz; --help lists all");
  EXPECT_EQ(ParseArguments({"--no-max-model-len"}).status().message().substr(0, 12), "unknown knob");
  EXPECT_EQ(ParseArguments({"--max-model-len"}).status().message(), "--max-model-len: the value is missing");
  EXPECT_THAT(std::string(ParseArguments({"--max-model-len", "many"}).status().message()),
              HasSubstr("--max-model-len: cannot read the value 'many'"));
}

TEST(FlagsTest, HelpListsOurKnobsWithDefaults) {
  // Links abseil's own flags in: they must not show.
  [[maybe_unused]] auto* volatile abseil_parser = &absl::ParseCommandLine;
  const std::string help = FlagsHelp("mesh-test", "Tests.");
  EXPECT_THAT(help, HasSubstr("mesh-test: Tests."));
  EXPECT_THAT(help, HasSubstr("  --max-model-len=2048\n      prompt and output together, in tokens\n"));
  EXPECT_THAT(help, HasSubstr("  --log-format=text\n"));
  EXPECT_THAT(help, Not(HasSubstr("undefok")));
}

TEST(FlagsDeathTest, ExitCodes) {
  const auto parse = [](std::vector<std::string> arguments) {
    std::vector<char*> argv = {const_cast<char*>("p")};
    for (std::string& argument : arguments) argv.push_back(argument.data());
    ParseFlags(static_cast<int>(argv.size()), argv.data(), "p", "u");
  };
  EXPECT_EXIT(parse({"--nonsense"}), testing::ExitedWithCode(2), "p: unknown knob --nonsense");
  EXPECT_EXIT(parse({"--log-level=loud"}), testing::ExitedWithCode(2), "--log-level: 'loud' is none of");
  EXPECT_EXIT(parse({"--help"}), testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace slmmesh
