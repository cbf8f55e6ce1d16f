#include "common/files.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "common/temporary_folder.h"

namespace slmmesh {
namespace {

TEST(FilesTest, WritesAndReadsBack) {
  TemporaryFolder folder;
  const std::string path = folder / "a";
  ASSERT_EQ(WriteFileAtomic(path, "one", 0600), absl::OkStatus());
  ASSERT_EQ(WriteFileAtomic(path, "two", 0600), absl::OkStatus());
  EXPECT_EQ(ReadFile(path).value(), "two");
  struct stat info;
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);  // nothing left over
}

TEST(FilesTest, ErrorsHaveACodeAndThePath) {
  TemporaryFolder folder;
  const absl::Status absent = ReadFile(folder / "absent").status();
  EXPECT_EQ(absent.code(), absl::StatusCode::kNotFound);
  EXPECT_NE(std::string(absent.message()).find(folder / "absent"), std::string::npos);
  ASSERT_EQ(WriteFileAtomic(folder / "big", std::string(101, 'x')), absl::OkStatus());
  EXPECT_EQ(ReadFile(folder / "big", 100).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(ReadFile(folder / "big", 101).ok());
  EXPECT_EQ(MappedFile::Open(folder.path()).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(FilesTest, MapsAndDigests) {
  TemporaryFolder folder;
  ASSERT_EQ(WriteFileAtomic(folder / "abc", "abc"), absl::OkStatus());
  ASSERT_EQ(WriteFileAtomic(folder / "empty", ""), absl::OkStatus());
  EXPECT_EQ(MappedFile::Open(folder / "abc").value()->bytes().size(), 3u);
  // FIPS 180-2's own examples.
  EXPECT_EQ(Sha256HexOfFile(folder / "abc").value(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Sha256HexOfFile(folder / "empty").value(),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

}  // namespace
}  // namespace slmmesh
