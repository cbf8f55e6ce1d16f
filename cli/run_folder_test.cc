#include "cli/run_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>

#include "common/temporary_folder.h"

namespace slmmesh {
namespace {

class RunFolderTest : public ::testing::Test {
 protected:
  void SetUp() override { setenv("MESH_RUN_DIR", root_.c_str(), 1); }

  const TemporaryFolder folder_;
  const std::string root_ = folder_.path();
};

TEST_F(RunFolderTest, NobodyElseCanReadIt) {
  const std::string folder = *CreateRunFolder("demo");
  for (const std::string& path : {root_, folder, folder + "/tls"}) {
    struct stat info;
    ASSERT_EQ(stat(path.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0700u) << path;
  }
}

TEST_F(RunFolderTest, ALinkInsteadOfAFolderIsRefused) {
  std::filesystem::create_directory_symlink("/tmp", root_ + "/demo");
  EXPECT_EQ(CreateRunFolder("demo").status().code(), absl::StatusCode::kPermissionDenied);
}

TEST_F(RunFolderTest, OneSupervisorAtATimeAndFoundWhileItLives) {
  const std::string folder = *CreateRunFolder("demo");
  EXPECT_EQ(FindRunFolder("").status().code(), absl::StatusCode::kNotFound);
  {
    auto lock = RunLock::Take(folder);
    ASSERT_TRUE(lock.ok());
    EXPECT_EQ(RunLock::Take(folder).status().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(*FindRunFolder(""), folder);
    EXPECT_EQ(FindRunFolder("other").status().code(), absl::StatusCode::kNotFound);
  }
  EXPECT_TRUE(RunLock::Take(folder).ok());
}

TEST_F(RunFolderTest, StateComesBackAsWritten) {
  const std::string folder = *CreateRunFolder("demo");
  MeshState state;
  state.cluster = "demo";
  state.phase = "ready";
  state.http = "127.0.0.1:1";
  state.supervisor_pid = 42;
  state.processes = {{"head", 7, 1}};
  ASSERT_TRUE(WriteState(folder, state).ok());
  const MeshState read = *ReadState(folder);
  EXPECT_EQ(read.phase, "ready");
  EXPECT_EQ(read.http, state.http);
  EXPECT_EQ(read.supervisor_pid, 42);
  ASSERT_EQ(read.processes.size(), 1u);
  EXPECT_EQ(read.processes[0].name, "head");
  EXPECT_EQ(read.processes[0].restarts, 1);
}

}  // namespace
}  // namespace slmmesh
