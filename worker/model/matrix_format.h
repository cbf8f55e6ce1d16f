// How a model's matrices are kept in memory: a pure decision from the options, the stored format and the cut into
// leaves, so that every rank of every tensor-parallel degree decides alike.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/types/span.h"
#include "kernels/weight_format.h"

namespace slmmesh {

// Whether a matrix that the checkpoint holds in integers keeps its quants and scales.
enum class KeepStored { kNever, kSameType, kAlways };

struct WeightOptions {
  WeightOptions(kernels::WeightFormat format = kernels::WeightType::kBFloat16,
                KeepStored keep_stored = KeepStored::kNever)
      : format(format), keep_stored(keep_stored) {}
  WeightOptions(kernels::WeightType type) : format(type) {}  // implicit, as a format is

  kernels::WeightFormat format;  // of the others
  KeepStored keep_stored = KeepStored::kNever;
  bool operator==(const WeightOptions&) const = default;
};

struct MatrixFormat {
  kernels::WeightFormat format;
  bool is_stored = false;  // quants and scales as the checkpoint has them; else made from fp32 values
};

// `leaf_starts`: where the leaves of the whole matrix start, and its columns at the end. A group that crosses a leaf is
// split into smaller ones of the same scale; where that leaves too small a group, or pairs of columns do not fit, the
// matrix is kept in bf16.
MatrixFormat ChooseMatrixFormat(const WeightOptions& options, std::optional<kernels::WeightFormat> stored,
                                absl::Span<const int64_t> leaf_starts);

// What the knob --weights says: "auto" (stored integers as they are, else bf16), "bf16", "fp32", "int8" (one scale a
// row), "int4" (groups of 32), the last two unless already stored so. nullopt: none of these.
std::optional<WeightOptions> ParseWeights(const std::string& text);
std::string WeightsName(const WeightOptions& options);

}  // namespace slmmesh
