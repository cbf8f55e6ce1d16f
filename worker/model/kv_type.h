// What the knob --kv-cache says.
#pragma once

#include <optional>
#include <string>

#include "kernels/backend.h"

namespace slmmesh {

inline const char* KvTypeName(kernels::KvType type) {
  switch (type) {
    case kernels::KvType::kFloat32:
      return "fp32";
    case kernels::KvType::kBFloat16:
      return "bf16";
    case kernels::KvType::kInt8:
      return "int8";
  }
  return "unknown";
}

inline std::optional<kernels::KvType> ParseKvType(const std::string& text) {
  for (const auto type : {kernels::KvType::kFloat32, kernels::KvType::kBFloat16, kernels::KvType::kInt8}) {
    if (text == KvTypeName(type)) return type;
  }
  return std::nullopt;
}

}  // namespace slmmesh
