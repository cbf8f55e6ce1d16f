#include "worker/model/memory_ahead.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <memory>
#include <vector>

namespace slmmesh {
namespace {

// How many of these bytes have a page.
size_t Resident(char* memory, size_t bytes) {
  const auto page = static_cast<size_t>(getpagesize());
  char* first = memory - reinterpret_cast<size_t>(memory) % page;
  std::vector<unsigned char> pages((memory + bytes - first + page - 1) / page);
  EXPECT_EQ(mincore(first, pages.size() * page, pages.data()), 0);
  size_t resident = 0;
  for (const unsigned char state : pages) resident += state & 1;
  return resident * page;
}

class MemoryAheadTest : public ::testing::Test {
 protected:
  ~MemoryAheadTest() override { backend_->Free(buffer_); }

  static constexpr size_t kAhead = MemoryAhead::kAheadBytes;
  static constexpr size_t kHugePage = size_t{2} << 20;
  const std::unique_ptr<kernels::Backend> backend_ = kernels::CreateCpuBackend({.threads = 1});
  char* const buffer_ = static_cast<char*>(backend_->Allocate(3 * kAhead));
};

TEST_F(MemoryAheadTest, IsReadyBeforeUse) {
  MemoryAhead ahead(backend_.get(), buffer_, 3 * kAhead);
  ahead.WaitUntilReady(kAhead);
  EXPECT_GE(Resident(buffer_, kAhead), kAhead);
  EXPECT_LE(Resident(buffer_ + kAhead, 2 * kAhead), kHugePage);  // and no more than was said
  { const MemoryAhead::Step step(&ahead, 5 << 20); }
  ahead.WaitUntilReady(kAhead + (5 << 20));
  EXPECT_GE(Resident(buffer_, kAhead + (5 << 20)), kAhead + (5 << 20));
}

TEST_F(MemoryAheadTest, WithinAStepOnlyWhatIsUrgent) {
  MemoryAhead ahead(backend_.get(), buffer_, 3 * kAhead);
  ahead.WaitUntilReady(kAhead);
  {
    const MemoryAhead::Step step(&ahead, kAhead);
    ahead.WaitUntilReady(kAhead + MemoryAhead::kUrgentBytes);
    EXPECT_LE(Resident(buffer_ + kAhead + MemoryAhead::kUrgentBytes, kAhead), kHugePage);
  }
  ahead.WaitUntilReady(2 * kAhead);
}

TEST_F(MemoryAheadTest, KeepsWhatIsThereAndEndsAtTheEnd) {
  buffer_[0] = 1;
  buffer_[3 * kAhead - 1] = 2;
  MemoryAhead ahead(backend_.get(), buffer_, 3 * kAhead);
  { const MemoryAhead::Step step(&ahead, 3 * kAhead); }
  ahead.WaitUntilReady(3 * kAhead);
  EXPECT_EQ(buffer_[0], 1);
  EXPECT_EQ(buffer_[3 * kAhead - 1], 2);
}

TEST_F(MemoryAheadTest, StopsWhileItWorks) {
  for (int i = 0; i < 20; ++i) {
    MemoryAhead ahead(backend_.get(), buffer_, 3 * kAhead);
    const MemoryAhead::Step step(&ahead, 3 * kAhead);
  }
}

}  // namespace
}  // namespace slmmesh
