// A kernels backend that shows the inputs of matrix products to a function, and lets another backend do all the work.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include "kernels/backend.h"

namespace slmmesh {

class RecordingBackend : public kernels::Backend {
 public:
  // `inner` must outlive it.
  explicit RecordingBackend(kernels::Backend* inner) : inner_(inner) {}

  // Called after every product: x is there then.
  void SetObserver(std::function<void(const kernels::MatMulArgs& args)> observer) { observer_ = std::move(observer); }

  void MatMul(const kernels::MatMulArgs& args) override {
    inner_->MatMul(args);  // makes x where it is not there yet
    if (observer_) observer_(args);
  }

  std::string Describe() const override { return inner_->Describe(); }
  void* Allocate(size_t bytes) override { return inner_->Allocate(bytes); }
  void Populate(void* pointer, size_t bytes) override { inner_->Populate(pointer, bytes); }
  void Free(void* pointer) override { inner_->Free(pointer); }
  size_t PackedBytes(const kernels::WeightFormat& format, int64_t n, int64_t k) const override {
    return inner_->PackedBytes(format, n, k);
  }
  void PackPanel(kernels::WeightType type, const float* rows_f32, int64_t rows, int64_t panel, int64_t k,
                 void* packed) const override {
    inner_->PackPanel(type, rows_f32, rows, panel, k, packed);
  }
  void PackPanel(const kernels::WeightFormat& format, const kernels::QuantizedRows& rows, int64_t panel, int64_t k,
                 void* packed) const override {
    inner_->PackPanel(format, rows, panel, k, packed);
  }
  size_t KvBlockBytes(kernels::KvType type, int64_t block_size, int64_t num_kv_heads, int64_t head_dim) const override {
    return inner_->KvBlockBytes(type, block_size, num_kv_heads, head_dim);
  }
  void Add(float* a, const float* b, int64_t count) override { inner_->Add(a, b, count); }
  void RopeStore(const kernels::RopeStoreArgs& args) override { inner_->RopeStore(args); }
  void Attention(const kernels::AttentionArgs& args) override { inner_->Attention(args); }

 private:
  kernels::Backend* const inner_;
  std::function<void(const kernels::MatMulArgs& args)> observer_;
};

}  // namespace slmmesh
