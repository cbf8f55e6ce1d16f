// The tensors of a checkpoint by Hugging Face name, and the check that they are those which its config describes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/model_config.h"

namespace slmmesh {

// Immutable once filled: may then be shared by threads. The mapped files are kept alive by its owner.
class TensorTable {
 public:
  // INVALID_ARGUMENT if the name is taken.
  absl::Status Add(TensorView&& tensor);

  absl::StatusOr<TensorView> Find(const std::string& name, absl::Span<const int64_t> shape) const;
  // Takes it out of the table; nothing if it is not there.
  std::optional<TensorView> Take(absl::string_view name);
  bool Has(absl::string_view name) const { return tensors_.contains(name); }
  const absl::flat_hash_map<std::string, TensorView>& all() const { return tensors_; }

 private:
  absl::flat_hash_map<std::string, TensorView> tensors_;
};

// Every tensor of the model that `config` describes, with its shape.
std::vector<std::pair<std::string, std::vector<int64_t>>> ExpectedTensors(const ModelConfig& config);

// NOT_FOUND or INVALID_ARGUMENT unless `table` holds exactly the expected tensors. Three kinds may be there in vain:
// an output matrix beside tied embeddings, rotary frequencies that old converters stored, and biases of zeros, which
// GPTQ's tools add. Anything else that the config does not describe would silently be left out of the computation.
absl::Status CheckTensors(const TensorTable& table, const ModelConfig& config);

const char* TensorTypeName(TensorType type);
// Elements that are stored together; 1 for floats.
int64_t BlockElements(TensorType type);
// Bytes of one row of `columns` elements; 0 if `columns` is not a whole number of blocks.
uint64_t RowBytes(TensorType type, int64_t columns);

}  // namespace slmmesh
