#include "worker/model/matrix_format.h"

#include <array>
#include <numeric>
#include <utility>

namespace slmmesh {
namespace {

using kernels::ScaleType;
using kernels::WeightFormat;
using kernels::WeightType;

// kernels/weight_format.h says what fits.
std::optional<WeightFormat> FitToLeaves(WeightFormat format, absl::Span<const int64_t> leaf_starts) {
  const int64_t unit = format.type == WeightType::kInt4 || format.group == 0 ? 32 : 16;
  int64_t divisor = format.group;
  for (const int64_t start : leaf_starts) divisor = std::gcd(divisor, start);
  if (divisor % unit != 0) return std::nullopt;
  if (format.group != 0) format.group = divisor;
  return format;
}

const std::array<std::pair<const char*, WeightOptions>, 5>& NamedWeights() {
  static const std::array<std::pair<const char*, WeightOptions>, 5> named = {{
      {"auto", {WeightType::kBFloat16, KeepStored::kAlways}},
      {"bf16", {WeightType::kBFloat16, KeepStored::kNever}},
      {"fp32", {WeightType::kFloat32, KeepStored::kNever}},
      {"int8", {{WeightType::kInt8, 0, ScaleType::kFloat32, false}, KeepStored::kSameType}},
      {"int4", {{WeightType::kInt4, 32, ScaleType::kFloat16, false}, KeepStored::kSameType}},
  }};
  return named;
}

}  // namespace

MatrixFormat ChooseMatrixFormat(const WeightOptions& options, std::optional<WeightFormat> stored,
                                absl::Span<const int64_t> leaf_starts) {
  const bool keep =
      stored.has_value() && (options.keep_stored == KeepStored::kAlways ||
                             (options.keep_stored == KeepStored::kSameType && stored->type == options.format.type));
  if (keep) {
    if (const auto fitting = FitToLeaves(*stored, leaf_starts)) return {*fitting, true};
  }
  if (!options.format.is_integer()) return {options.format, false};
  if (const auto fitting = FitToLeaves(options.format, leaf_starts)) return {*fitting, false};
  return {WeightType::kBFloat16, false};
}

std::optional<WeightOptions> ParseWeights(const std::string& text) {
  for (const auto& [name, options] : NamedWeights()) {
    if (text == name) return options;
  }
  return std::nullopt;
}

std::string WeightsName(const WeightOptions& options) {
  for (const auto& [name, named] : NamedWeights()) {
    if (options == named) return name;
  }
  return "other";
}

}  // namespace slmmesh
