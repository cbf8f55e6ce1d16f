// The tensors of a quantized Hugging Face checkpoint, put together: `X.qweight`, `X.qzeros`, `X.scales` and the like
// become one `X.weight`.
#pragma once

#include "absl/status/status.h"
#include "worker/checkpoint/quantization_config.h"
#include "worker/checkpoint/tensor_table.h"

namespace slmmesh {

// What a module's tensors are says whether it is quantized: modules that the tool left alone have a float `weight`.
// INVALID_ARGUMENT naming the tensor when parts are missing, or their types or shapes do not fit together.
absl::Status JoinQuantizedTensors(const QuantizationConfig& config, TensorTable& tensors);

}  // namespace slmmesh
