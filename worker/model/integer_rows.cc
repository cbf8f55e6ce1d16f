#include "worker/model/integer_rows.h"

#include "common/status.h"
#include "worker/quantize/quantize.h"

namespace slmmesh {
namespace {

int64_t DivideUp(int64_t a, int64_t b) { return (a + b - 1) / b; }

// The stored groups that hold the columns wanted, whole: the range may begin and end within one (weight_format.h).
struct StoredRows {
  UnitRange columns;
  int64_t group;  // as stored
  IntegerRows rows;

  int64_t groups() const { return columns.size() / group; }
};

absl::StatusOr<StoredRows> ReadStored(const TensorView& tensor, const kernels::WeightFormat& stored, int64_t begin,
                                      int64_t end, UnitRange columns) {
  StoredRows out;
  out.group = stored.group == 0 ? columns.size() : stored.group;
  out.columns = columns;
  if (stored.group != 0) {
    out.columns = {columns.begin / stored.group * stored.group, DivideUp(columns.end, stored.group) * stored.group};
  }
  const int64_t count = end - begin;
  out.rows.quants.resize(count * out.columns.size());
  out.rows.scales.resize(count * out.groups());
  out.rows.minima.resize(stored.has_minima ? count * out.groups() : 0);
  ReadQuantized(tensor, begin, end, out.columns.begin, out.columns.end, out.rows.quants.data(), out.rows.scales.data(),
                stored.has_minima ? out.rows.minima.data() : nullptr);
  RETURN_IF_ERROR(CheckFinite(tensor, out.rows.scales));
  RETURN_IF_ERROR(CheckFinite(tensor, out.rows.minima));
  return out;
}

// A scale of a whole row comes from all its columns, whichever of them this rank has: else it would depend on the cut.
absl::Status QuantizeSource(const MatrixSource& source, const kernels::WeightFormat& format, int64_t first,
                            int64_t count, IntegerRows* out) {
  const UnitRange wanted = source.columns;
  const bool whole = format.group == 0 && wanted.size() < source.parts.front().tensor.columns();
  MatrixSource read = source;
  if (whole) read.columns = {0, source.parts.front().tensor.columns()};
  const int64_t width = read.columns.size();
  std::vector<float> values(count * width);
  RETURN_IF_ERROR(ReadRows(read, first, count, values.data()));
  std::vector<int8_t> all(whole ? count * width : 0);
  QuantizeRows(format, values.data(), count, width, whole ? all.data() : out->quants.data(), out->scales.data(),
               format.has_minima ? out->minima.data() : nullptr);
  for (int64_t row = 0; whole && row < count; ++row) {
    std::copy_n(all.data() + row * width + wanted.begin, wanted.size(), out->quants.data() + row * wanted.size());
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadIntegerRows(const MatrixSource& source, const MatrixFormat& format, int64_t first, int64_t count,
                             IntegerRows* out) {
  const int64_t width = source.columns.size();
  const int64_t group = format.format.group == 0 ? width : format.format.group;
  const int64_t groups = width / group;
  const bool has_minima = format.format.has_minima;
  out->quants.resize(count * width);
  out->scales.resize(count * groups);
  out->minima.resize(has_minima ? count * groups : 0);
  if (!format.is_stored) return QuantizeSource(source, format.format, first, count, out);
  return source.ForRows(first, count,
                        [&](const TensorView& tensor, int64_t begin, int64_t end, int64_t index) -> absl::Status {
                          ASSIGN_OR_RETURN(const StoredRows stored,
                                           ReadStored(tensor, *NativeFormat(tensor), begin, end, source.columns));
                          const int64_t skipped = source.columns.begin - stored.columns.begin;
                          for (int64_t row = 0; row < end - begin; ++row) {
                            std::copy_n(stored.rows.quants.data() + row * stored.columns.size() + skipped, width,
                                        out->quants.data() + (index + row) * width);
                            for (int64_t g = 0; g < groups; ++g) {
                              const int64_t from = row * stored.groups() + (skipped + g * group) / stored.group;
                              const int64_t to = (index + row) * groups + g;
                              out->scales[to] = stored.rows.scales[from];
                              if (has_minima) out->minima[to] = stored.rows.minima[from];
                            }
                          }
                          return absl::OkStatus();
                        });
}

}  // namespace slmmesh
