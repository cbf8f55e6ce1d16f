#include "worker/offline/calibration.h"

#include <algorithm>
#include <array>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "worker/offline/recording_backend.h"
#include "worker/offline/text_tokens.h"
#include "worker/offline/window_runner.h"
#include "worker/quantize/vector_clones.h"

namespace slmmesh {
namespace {

constexpr int64_t kChunk = 128;  // positions of a step

// to[j] += sum over rows of x[row][i] * x[row][j], for i <= j < columns.
MESH_VECTOR_CLONES void AddMomentsOf(const float* x, int64_t x_stride, int64_t rows, int64_t i, int64_t columns,
                                     float* to) {
  int64_t row = 0;
  for (; row + 4 <= rows; row += 4) {
    const float *a = x + row * x_stride, *b = a + x_stride, *c = b + x_stride, *d = c + x_stride;
    const float of_a = a[i], of_b = b[i], of_c = c[i], of_d = d[i];
    for (int64_t j = i; j < columns; ++j) to[j] += (of_a * a[j] + of_b * b[j]) + (of_c * c[j] + of_d * d[j]);
  }
  for (; row < rows; ++row) {
    const float* a = x + row * x_stride;
    for (int64_t j = i; j < columns; ++j) to[j] += a[i] * a[j];
  }
}

// moments [columns, columns] += x^T x, its upper half. Rows of the result are dealt to the threads.
void AddMoments(const float* x, int64_t x_stride, int64_t rows, int64_t columns, int threads,
                std::vector<float>* moments) {
  const auto work = [&](int64_t first) {
    for (int64_t i = first; i < columns; i += threads) {
      AddMomentsOf(x, x_stride, rows, i, columns, moments->data() + i * columns);
    }
  };
  std::vector<std::thread> helpers;
  for (int thread = 1; thread < threads; ++thread) helpers.emplace_back(work, thread);
  work(0);
  for (std::thread& helper : helpers) helper.join();
}

using LayerMoments = std::array<std::vector<float>, kNumProjectionInputs>;

class ModelCalibration : public Calibration {
 public:
  ModelCalibration(const CalibrationOptions& options, std::unique_ptr<kernels::Backend> backend)
      : options_(options), inner_(std::move(backend)), backend_(inner_.get()) {
    threads_ =
        options.threads > 0 ? options.threads : static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  }

  absl::Status Load(std::shared_ptr<const Checkpoint> checkpoint) {
    config_ = &checkpoint->config();
    options_.context = std::min(options_.context, config_->max_positions);
    ASSIGN_OR_RETURN(text_, ReadTextTokens(options_.text, *checkpoint, options_.tokens));
    const auto fits = static_cast<int64_t>(text_.prefix.size() + text_.tokens.size());
    if (fits < options_.context || static_cast<int64_t>(text_.prefix.size()) >= options_.context) {
      return absl::InvalidArgumentError(
          absl::StrCat(options_.text, ": has ", fits, " tokens; expected at least ", options_.context));
    }
    ASSIGN_OR_RETURN(runner_, WindowRunner::Create(std::move(checkpoint), &backend_, kernels::WeightType::kBFloat16,
                                                   options_.context));
    return absl::OkStatus();
  }

  absl::StatusOr<const std::vector<float>*> Moments(int64_t layer, ProjectionInput input) override {
    if (layer < first_layer_ || layer >= first_layer_ + static_cast<int64_t>(layers_.size())) {
      RETURN_IF_ERROR(Collect(layer));
    }
    return &layers_[static_cast<size_t>(layer - first_layer_)][static_cast<size_t>(input)];
  }

 private:
  int64_t ColumnsOf(ProjectionInput input) const {
    if (input == ProjectionInput::kDown) return config_->intermediate_size;
    return input == ProjectionInput::kOutput ? config_->num_q_heads * config_->head_dim : config_->hidden_size;
  }

  absl::Status Collect(int64_t first) {
    uint64_t layer_bytes = 0;
    for (int input = 0; input < kNumProjectionInputs; ++input) {
      const auto columns = static_cast<uint64_t>(ColumnsOf(static_cast<ProjectionInput>(input)));
      layer_bytes += columns * columns * sizeof(float);
    }
    const auto fits = static_cast<int64_t>(std::max<uint64_t>(1, options_.max_bytes / layer_bytes));
    first_layer_ = first;
    layers_.clear();
    layers_.resize(static_cast<size_t>(std::min(fits, config_->num_layers - first)));
    for (LayerMoments& layer : layers_) {
      for (int input = 0; input < kNumProjectionInputs; ++input) {
        const int64_t columns = ColumnsOf(static_cast<ProjectionInput>(input));
        layer[static_cast<size_t>(input)].assign(static_cast<size_t>(columns * columns), 0.0f);
      }
    }
    RETURN_IF_ERROR(ReadText());
    for (LayerMoments& layer : layers_) {
      for (int input = 0; input < kNumProjectionInputs; ++input) {
        Mirror(ColumnsOf(static_cast<ProjectionInput>(input)), &layer[static_cast<size_t>(input)]);
      }
    }
    return absl::OkStatus();
  }

  static void Mirror(int64_t columns, std::vector<float>* moments) {
    for (int64_t i = 0; i < columns; ++i) {
      for (int64_t j = 0; j < i; ++j) (*moments)[i * columns + j] = (*moments)[j * columns + i];
    }
  }

  absl::Status ReadText() {
    backend_.SetObserver([this](const kernels::MatMulArgs& args) { Observe(args); });
    const int64_t of_text = options_.context - static_cast<int64_t>(text_.prefix.size());  // in a window
    for (size_t start = 0; start + static_cast<size_t>(of_text) <= text_.tokens.size();
         start += static_cast<size_t>(of_text)) {
      std::vector<uint32_t> window = text_.prefix;
      const auto from = text_.tokens.begin() + static_cast<std::ptrdiff_t>(start);
      window.insert(window.end(), from, from + of_text);
      for (int64_t begin = 0; begin < options_.context; begin += kChunk) {
        inputs_seen_ = 0;
        last_input_ = nullptr;
        RETURN_IF_ERROR(runner_->Run(window, begin, std::min(kChunk, options_.context - begin)).status());
        // The head comes after the layers.
        if (inputs_seen_ != kNumProjectionInputs * config_->num_layers + 1) {
          return absl::InternalError(absl::StrCat("a step had ", inputs_seen_, " different inputs of products"));
        }
      }
    }
    backend_.SetObserver(nullptr);
    return absl::OkStatus();
  }

  // A matrix may be kept in sections: consecutive products with one input. Inputs of different matrices that follow
  // each other lie in different buffers.
  void Observe(const kernels::MatMulArgs& args) {
    if (args.x == last_input_) return;
    last_input_ = args.x;
    const int64_t layer = inputs_seen_ / kNumProjectionInputs - first_layer_;
    const int64_t input = inputs_seen_++ % kNumProjectionInputs;
    if (layer < 0 || layer >= static_cast<int64_t>(layers_.size())) return;
    std::vector<float>& moments = layers_[static_cast<size_t>(layer)][static_cast<size_t>(input)];
    AddMoments(args.x, args.x_stride, args.m, args.k, threads_, &moments);
  }

  CalibrationOptions options_;
  const std::unique_ptr<kernels::Backend> inner_;
  RecordingBackend backend_;
  int threads_ = 1;
  const ModelConfig* config_ = nullptr;  // the checkpoint's, which the model keeps
  TextTokens text_;
  std::unique_ptr<WindowRunner> runner_;
  int64_t first_layer_ = 0;
  std::vector<LayerMoments> layers_;
  int64_t inputs_seen_ = 0;  // in this step
  const float* last_input_ = nullptr;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Calibration>> Calibration::Create(std::shared_ptr<const Checkpoint> checkpoint,
                                                                 const CalibrationOptions& options) {
  std::unique_ptr<kernels::Backend> backend = kernels::CreateCpuBackend({.threads = options.threads});
  auto calibration = std::make_unique<ModelCalibration>(options, std::move(backend));
  RETURN_IF_ERROR(calibration->Load(std::move(checkpoint)));
  return calibration;
}

}  // namespace slmmesh
