#include "worker/model/panel_loader.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>
#include <utility>

#include "common/status.h"

namespace slmmesh {
namespace {

// Reading is bound by the disk or by memory: a few threads saturate either.
constexpr unsigned kMaxThreads = 4;

}  // namespace

void PanelLoader::Add(MatrixSource source, const MatrixFormat& format, void* packed) {
  const int64_t panels = (source.rows() + kernels::kPanelColumns - 1) / kernels::kPanelColumns;
  matrices_.push_back({std::move(source), format, packed, num_panels_});
  num_panels_ += panels;
}

void PanelLoader::AddCheck(MatrixSource source) { Add(std::move(source), MatrixFormat(), nullptr); }

const PanelLoader::Matrix& PanelLoader::MatrixOf(int64_t panel) const {
  const auto next = std::upper_bound(matrices_.begin(), matrices_.end(), panel,
                                     [](int64_t p, const Matrix& matrix) { return p < matrix.first_panel; });
  return *(next - 1);
}

absl::Status PanelLoader::LoadPanel(int64_t panel, Room* room) const {
  const Matrix& matrix = MatrixOf(panel);
  const kernels::WeightFormat& format = matrix.format.format;
  const int64_t panel_of_matrix = panel - matrix.first_panel;
  const int64_t first = panel_of_matrix * kernels::kPanelColumns;
  const int64_t count = std::min(kernels::kPanelColumns, matrix.source.rows() - first);
  const int64_t columns = matrix.source.columns.size();
  if (format.is_integer()) {
    RETURN_IF_ERROR(ReadIntegerRows(matrix.source, matrix.format, first, count, &room->integers));
    backend_->PackPanel(format, room->integers.View(count), panel_of_matrix, columns, matrix.packed);
    return absl::OkStatus();
  }
  room->values.resize(kernels::kPanelColumns * columns);
  RETURN_IF_ERROR(ReadRows(matrix.source, first, count, room->values.data()));
  if (matrix.packed != nullptr) {
    backend_->PackPanel(format.type, room->values.data(), count, panel_of_matrix, columns, matrix.packed);
  }
  return absl::OkStatus();
}

absl::Status PanelLoader::Run(const std::function<void(double fraction)>& progress) {
  std::atomic<int64_t> next_panel = 0;
  std::mutex mutex;
  absl::Status first_error;  // guarded by mutex
  const auto work = [&](const std::function<void(double fraction)>& report) {
    Room room;
    for (int64_t panel = next_panel++; panel < num_panels_; panel = next_panel++) {
      if (absl::Status status = LoadPanel(panel, &room); !status.ok()) {
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
