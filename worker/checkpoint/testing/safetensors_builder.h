// Writes safetensors files for tests, right ones and, with AddRaw, wrong ones.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "worker/checkpoint/testing/tensor_encoding.h"

namespace slmmesh {

class SafetensorsBuilder {
 public:
  // `type`: F32, F16 or BF16. As many values as the shape has elements.
  SafetensorsBuilder& Add(const std::string& name, TensorType type, const std::vector<int64_t>& shape,
                          const std::vector<float>& values) {
    const char* const dtype = type == TensorType::kF32 ? "F32" : type == TensorType::kF16 ? "F16" : "BF16";
    const std::string bytes = EncodeTensor(type, values);
    const std::string shape_json = absl::StrCat("[", absl::StrJoin(shape, ","), "]");
    AddHeader(name, dtype, shape_json, data_.size(), data_.size() + bytes.size());
    data_ += bytes;
    return *this;
  }

  // A header entry as it stands, without data.
  SafetensorsBuilder& AddHeader(const std::string& name, const std::string& dtype, const std::string& shape_json,
                                uint64_t begin, uint64_t end) {
    entries_.push_back(absl::StrCat("\"", name, "\":{\"dtype\":\"", dtype, "\",\"shape\":", shape_json,
                                    ",\"data_offsets\":[", begin, ",", end, "]}"));
    return *this;
  }
  SafetensorsBuilder& AddData(const std::string& bytes) {
    data_ += bytes;
    return *this;
  }

  // The file. Its header is padded with spaces to a multiple of 8 bytes, as the format advises.
  std::string Build() const {
    std::string header = absl::StrCat("{", absl::StrJoin(entries_, ","), "}");
    header.append((8 - header.size() % 8) % 8, ' ');
    return WithHeader(header, data_);
  }
  static std::string WithHeader(const std::string& header, const std::string& data) {
    std::string file;
    AppendLittleEndian(file, static_cast<uint64_t>(header.size()));
    return file + header + data;
  }

 private:
  std::vector<std::string> entries_;
  std::string data_;
};

}  // namespace slmmesh
