#include "worker/model/memory_ahead.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <memory>
#include <mutex>
#include <string>
#include <thread>
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

// A shorter step wants no less than the longer one before it.
TEST_F(MemoryAheadTest, WhatWasUsedStaysUsed) {
  MemoryAhead ahead(backend_.get(), buffer_, 3 * kAhead);
  { const MemoryAhead::Step step(&ahead, kAhead); }
  { const MemoryAhead::Step step(&ahead, 1); }
  ahead.WaitUntilReady(2 * kAhead);
}

TEST_F(MemoryAheadTest, StopsWhileItWorks) {
  for (int i = 0; i < 20; ++i) {
    MemoryAhead ahead(backend_.get(), buffer_, 3 * kAhead);
    const MemoryAhead::Step step(&ahead, 3 * kAhead);
  }
}

// Notes what it is to have there, which takes it no time.
class NotingBackend : public kernels::Backend {
 public:
  void Populate(void* pointer, size_t bytes) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    // Part by part, each behind the one before.
    EXPECT_EQ(pointer, next_ == nullptr ? pointer : static_cast<void*>(next_));
    next_ = static_cast<char*>(pointer) + bytes;
  }
  size_t BytesFrom(const char* buffer) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return next_ == nullptr ? 0 : next_ - buffer;
  }

  std::string Describe() const override { return "noting"; }
  void* Allocate(size_t /*bytes*/) override { return nullptr; }
  void Free(void* /*pointer*/) override {}
  size_t PackedBytes(const kernels::WeightFormat& /*format*/, int64_t /*n*/, int64_t /*k*/) const override { return 0; }
  void PackPanel(kernels::WeightType /*type*/, const float* /*rows_f32*/, int64_t /*rows*/, int64_t /*panel*/,
                 int64_t /*k*/, void* /*packed*/) const override {}
  void PackPanel(const kernels::WeightFormat& /*format*/, const kernels::QuantizedRows& /*rows*/, int64_t /*panel*/,
                 int64_t /*k*/, void* /*packed*/) const override {}
  size_t KvBlockBytes(kernels::KvType /*type*/, int64_t /*block_size*/, int64_t /*num_kv_heads*/,
                      int64_t /*head_dim*/) const override {
    return 0;
  }
  void MatMul(const kernels::MatMulArgs& /*args*/) override {}
  void Add(float* /*a*/, const float* /*b*/, int64_t /*count*/) override {}
  void RopeStore(const kernels::RopeStoreArgs& /*args*/) override {}
  void Attention(const kernels::AttentionArgs& /*args*/) override {}

 private:
  std::mutex mutex_;
  char* next_ = nullptr;  // the end of the last part
};

// A thread that would go on has the time to: it needs none for a part.
TEST(MemoryAheadPartsTest, GoesNoFurtherThanIsWanted) {
  constexpr size_t kAhead = MemoryAhead::kAheadBytes, kUrgent = MemoryAhead::kUrgentBytes;
  static char buffer[1];  // what comes after it is never touched
  NotingBackend backend;
  MemoryAhead ahead(&backend, buffer, 8 * kAhead);
  const auto ready = [&](size_t bytes) {
    ahead.WaitUntilReady(bytes);
    for (int i = 0; i < 20; ++i) std::this_thread::yield();
    return backend.BytesFrom(buffer);
  };
  EXPECT_EQ(ready(kAhead), kAhead);
  {
    const MemoryAhead::Step step(&ahead, 2 * kAhead);
    EXPECT_EQ(ready(2 * kAhead + kUrgent), 2 * kAhead + kUrgent);
  }
  EXPECT_EQ(ready(3 * kAhead), 3 * kAhead);
}

TEST(MemoryAheadPartsTest, EndsWhereTheBufferEnds) {
  constexpr size_t kBytes = (size_t{5} << 20) + 3;
  static char buffer[1];
  NotingBackend backend;
  MemoryAhead ahead(&backend, buffer, kBytes);
  ahead.WaitUntilReady(kBytes);
  EXPECT_EQ(backend.BytesFrom(buffer), kBytes);
}

}  // namespace
}  // namespace slmmesh
