#include "worker/model/panel_loader.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <mutex>
#include <thread>
#include <utility>

#include "common/status.h"

namespace slmmesh {
namespace {

// Reading is bound by the disk or by memory: a few threads saturate either.
constexpr unsigned kMaxThreads = 4;

absl::Status CheckFinite(const TensorView& tensor, absl::Span<const float> values) {
  if (std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); })) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("tensor ", tensor.name, " holds a NaN or infinite value"));
}

}  // namespace

int64_t MatrixSource::rows() const {
  int64_t rows = 0;
  for (const MatrixPart& part : parts) rows += part.rows.size();
  return rows;
}

absl::Status ReadRows(const MatrixSource& source, int64_t first, int64_t count, float* out) {
  int64_t part_first = 0;  // row of the source at which the part begins
  for (const MatrixPart& part : source.parts) {
    const int64_t begin = std::max(first, part_first);
    const int64_t end = std::min(first + count, part_first + part.rows.size());
    if (begin < end) {
      float* rows = out + (begin - first) * source.columns.size();
      const int64_t shift = part.rows.begin - part_first;
      ReadTensor(part.tensor, begin + shift, end + shift, source.columns.begin, source.columns.end, rows);
      RETURN_IF_ERROR(CheckFinite(part.tensor, {rows, static_cast<size_t>((end - begin) * source.columns.size())}));
    }
    part_first += part.rows.size();
  }
  return absl::OkStatus();
}

void PanelLoader::Add(MatrixSource source, void* packed) {
  const int64_t panels = (source.rows() + kernels::kPanelColumns - 1) / kernels::kPanelColumns;
  matrices_.push_back({std::move(source), packed, num_panels_});
  num_panels_ += panels;
}

const PanelLoader::Matrix& PanelLoader::MatrixOf(int64_t panel) const {
  const auto next = std::upper_bound(matrices_.begin(), matrices_.end(), panel,
                                     [](int64_t p, const Matrix& matrix) { return p < matrix.first_panel; });
  return *(next - 1);
}

absl::Status PanelLoader::LoadPanel(int64_t panel, std::vector<float>* rows) const {
  const Matrix& matrix = MatrixOf(panel);
  const int64_t panel_of_matrix = panel - matrix.first_panel;
  const int64_t first = panel_of_matrix * kernels::kPanelColumns;
  const int64_t count = std::min(kernels::kPanelColumns, matrix.source.rows() - first);
  const int64_t columns = matrix.source.columns.size();
  rows->resize(kernels::kPanelColumns * columns);
  RETURN_IF_ERROR(ReadRows(matrix.source, first, count, rows->data()));
  if (matrix.packed != nullptr) {
    backend_->PackPanel(type_, rows->data(), count, panel_of_matrix, columns, matrix.packed);
  }
  return absl::OkStatus();
}

absl::Status PanelLoader::Run(const std::function<void(double fraction)>& progress) {
  std::atomic<int64_t> next_panel = 0;
  std::mutex mutex;
  absl::Status first_error;  // guarded by mutex
  const auto work = [&](const std::function<void(double fraction)>& report) {
    std::vector<float> rows;
    for (int64_t panel = next_panel++; panel < num_panels_; panel = next_panel++) {
      if (absl::Status status = LoadPanel(panel, &rows); !status.ok()) {
        const std::lock_guard lock(mutex);
        first_error.Update(status);
        next_panel = num_panels_;
        return;
      }
      if (report) report(static_cast<double>(panel) / static_cast<double>(num_panels_));
    }
  };

  std::vector<std::thread> helpers;
  const unsigned threads = std::clamp(std::thread::hardware_concurrency(), 1u, kMaxThreads);
  for (unsigned thread = 1; thread < threads; ++thread) helpers.emplace_back(work, nullptr);
  work(progress);
  for (std::thread& helper : helpers) helper.join();
  if (first_error.ok() && progress) progress(1.0);
  return first_error;
}

}  // namespace slmmesh
