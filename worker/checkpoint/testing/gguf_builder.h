// Writes GGUF files for tests, right ones and wrong ones.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "worker/checkpoint/testing/tensor_encoding.h"

namespace slmmesh {

class GgufBuilder {
 public:
  explicit GgufBuilder(uint32_t version = 3) : version_(version) {}

  GgufBuilder& AddInteger(const std::string& key, uint32_t value) { return AddScalar(key, 4, value); }
  GgufBuilder& AddFloat(const std::string& key, float value) { return AddScalar(key, 6, value); }
  GgufBuilder& AddBool(const std::string& key, bool value) { return AddScalar<uint8_t>(key, 7, value); }
  GgufBuilder& AddString(const std::string& key, const std::string& value) { return AddRaw(key, 8, String(value)); }
  GgufBuilder& AddIntegers(const std::string& key, const std::vector<int32_t>& values) {
    return AddArray(key, 5, values);
  }
  GgufBuilder& AddFloats(const std::string& key, const std::vector<float>& values) { return AddArray(key, 6, values); }
  GgufBuilder& AddStrings(const std::string& key, const std::vector<std::string>& values) {
    std::string bytes = ArrayHeader(8, values.size());
    for (const std::string& value : values) bytes += String(value);
    return AddRaw(key, 9, bytes);
  }
  // A value of the format's type `code` as it stands.
  GgufBuilder& AddRaw(const std::string& key, uint32_t code, const std::string& bytes) {
    metadata_ += String(key);
    AppendLittleEndian(metadata_, code);
    metadata_ += bytes;
    ++num_metadata_;
    return *this;
  }

  // `shape` in Hugging Face's order (rows first).
  GgufBuilder& AddTensor(const std::string& name, TensorType type, const std::vector<int64_t>& shape,
                         const std::vector<float>& values) {
    data_.resize((data_.size() + kAlignment - 1) / kAlignment * kAlignment);
    const std::vector<uint64_t> sizes(shape.rbegin(), shape.rend());
    AddTensorInfo(name, TypeCode(type), sizes, data_.size());
    data_ += EncodeTensor(type, values);
    return *this;
  }
  // An entry of the tensor list as it stands, without data. `sizes`: the fastest first.
  GgufBuilder& AddTensorInfo(const std::string& name, uint32_t type_code, const std::vector<uint64_t>& sizes,
                             uint64_t offset) {
    infos_ += String(name);
    AppendLittleEndian(infos_, static_cast<uint32_t>(sizes.size()));
    for (const uint64_t size : sizes) AppendLittleEndian(infos_, size);
    AppendLittleEndian(infos_, type_code);
    AppendLittleEndian(infos_, offset);
    ++num_tensors_;
    return *this;
  }

  std::string Build() const {
    std::string file = "GGUF";
    AppendLittleEndian(file, version_);
    AppendLittleEndian(file, num_tensors_);
    AppendLittleEndian(file, num_metadata_);
    file += metadata_ + infos_;
    file.resize((file.size() + kAlignment - 1) / kAlignment * kAlignment);
    return file + data_;
  }

  static uint32_t TypeCode(TensorType type) {
    switch (type) {
      case TensorType::kF32:
        return 0;
      case TensorType::kF16:
        return 1;
      case TensorType::kQ4_0:
        return 2;
      case TensorType::kQ4_1:
        return 3;
      case TensorType::kQ8_0:
        return 8;
      case TensorType::kQ4_K:
        return 12;
      case TensorType::kQ5_K:
        return 13;
      case TensorType::kQ6_K:
        return 14;
      case TensorType::kBF16:
        return 30;
      case TensorType::kI8:
      case TensorType::kI32:
      case TensorType::kI64:
      case TensorType::kF8E4M3:
        break;  // GGUF has no such weights
    }
    return UINT32_MAX;
  }
  static std::string String(const std::string& text) {
    std::string bytes;
    AppendLittleEndian(bytes, static_cast<uint64_t>(text.size()));
    return bytes + text;
  }
  static std::string ArrayHeader(uint32_t element_code, uint64_t count) {
    std::string bytes;
    AppendLittleEndian(bytes, element_code);
    AppendLittleEndian(bytes, count);
    return bytes;
  }

 private:
  static constexpr size_t kAlignment = 32;

  template <typename T>
  GgufBuilder& AddScalar(const std::string& key, uint32_t code, T value) {
    std::string bytes;
    AppendLittleEndian(bytes, value);
    return AddRaw(key, code, bytes);
  }
  template <typename T>
  GgufBuilder& AddArray(const std::string& key, uint32_t code, const std::vector<T>& values) {
    std::string bytes = ArrayHeader(code, values.size());
    for (const T value : values) AppendLittleEndian(bytes, value);
    return AddRaw(key, 9, bytes);
  }

  uint32_t version_;
  uint64_t num_metadata_ = 0;
  uint64_t num_tensors_ = 0;
  std::string metadata_;
  std::string infos_;
  std::string data_;
};

}  // namespace slmmesh
