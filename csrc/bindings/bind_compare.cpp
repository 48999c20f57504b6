#include <pybind11/stl.h>

#include <optional>

#include "check.hpp"
#include "pycryo/compare.hpp"

namespace pycryo::bindings {

static ImagePanel check_panel(const Array<float>& rows, const Array<float>& weights, std::int64_t n_image,
                              std::int64_t n_shift, std::int64_t n_pixel, std::int64_t n_group) {
  check_shape(rows, "rows", {n_image * n_shift * 2 * n_pixel});
  check_shape(weights, "weights", {n_image, n_pixel});
  if (n_image > 0) check_positive(n_group, "n_group");
  if (n_shift >= std::int64_t{1} << 23)  // indices of a block of slices have 32 bits
    throw input_error("n_shift: expected less than 8388608, got " + std::to_string(n_shift));
  return {rows.data(), weights.data(), n_image, n_shift, n_pixel, n_group};
}

static std::int64_t cell_count(std::int64_t n_slice) { return (n_slice + cell_slices - 1) / cell_slices; }

// Columns of packed slices: at least `n_column` × `depth` floats.
static void check_columns(const Array<float>& array, const char* name, std::int64_t n_column, std::int64_t depth) {
  if (array.ndim() != 1 || array.size() < n_column * depth)
    throw input_error(std::string(name) + ": expected at least " + std::to_string(n_column * depth) +
                      " floats, got shape " + shape_text(array));
  if (array.size() && reinterpret_cast<std::uintptr_t>(array.data()) % 64 != 0)
    throw input_error(std::string(name) + ": expected memory aligned to 64 bytes");
}

static SlicePanel check_slices(const Array<float>& columns, const Array<float>& norms, std::int64_t n_slice,
                               std::int64_t n_pixel) {
  const std::int64_t n_column = cell_count(n_slice) * cell_slices;
  check_columns(columns, "columns", n_column, 2 * n_pixel);
  check_columns(norms, "norms", n_column, n_pixel);
  return {columns.data(), norms.data(), n_slice};
}

static CompareTask check_task(const ImagePanel& panel, const Array<float>& columns, const Array<float>& norms,
                              std::int64_t n_slice, std::int64_t n_pixel, std::int64_t offset,
                              const std::optional<Array<float>>& prior_shift,
                              const std::optional<Array<float>>& prior_slice,
                              const std::optional<Array<std::uint8_t>>& active) {
  if (n_pixel != panel.n_pixel)
    throw input_error("slices: expected shape (any, 2, " + std::to_string(panel.n_pixel) + "), got (" +
                      std::to_string(n_slice) + ", 2, " + std::to_string(n_pixel) + ")");
  if (prior_shift) check_shape(*prior_shift, "log_prior_shift", {panel.n_image, panel.n_shift});
  if (prior_slice) check_shape(*prior_slice, "log_prior_slice", {n_slice});
  if (active) check_shape(*active, "active", {panel.n_image, cell_count(n_slice)});
  return {check_slices(columns, norms, n_slice, n_pixel), offset, prior_shift ? prior_shift->data() : nullptr,
          prior_slice ? prior_slice->data() : nullptr, active ? active->data() : nullptr};
}

static void pack_images(const Array<float>& images, const Array<float>& weights, Array<float> rows,
                        std::int64_t n_group, int threads) {
  check_shape(images, "images", {-1, -1, 2, -1});
  check_positive(threads, "threads");
  const ImagePanel panel = check_panel(rows, weights, images.shape(0), images.shape(1), images.shape(3), n_group);
  const float* from = images.data();
  float* to = rows.mutable_data();
  py::gil_scoped_release release;
  compare_pack_images(from, panel, to, threads);
}

static void pack_slices(const Array<float>& slices, Array<float> columns, Array<float> norms, int threads) {
  check_shape(slices, "slices", {-1, 2, -1});
  check_positive(threads, "threads");
  const std::int64_t n_slice = slices.shape(0), n_pixel = slices.shape(2);
  check_slices(columns, norms, n_slice, n_pixel);
  const float* from = slices.data();
  float *to = columns.mutable_data(), *to_norms = norms.mutable_data();
  py::gil_scoped_release release;
  compare_pack_slices(from, n_slice, n_pixel, to, to_norms, threads);
}

static void update_best(const Array<float>& rows, const Array<float>& weights, std::int64_t n_image,
                        std::int64_t n_shift, std::int64_t n_pixel, std::int64_t n_group, const Array<float>& columns,
                        const Array<float>& norms, std::int64_t n_slice, std::int64_t slice_pixel, std::int64_t offset,
                        const std::optional<Array<float>>& prior_shift, const std::optional<Array<float>>& prior_slice,
                        const std::optional<Array<std::uint8_t>>& active, Array<float> score, Array<std::int64_t> index,
                        Array<double> log_max, Array<double> log_sum, float margin, float relative_margin,
                        int threads) {
  const ImagePanel panel = check_panel(rows, weights, n_image, n_shift, n_pixel, n_group);
  const CompareTask task =
      check_task(panel, columns, norms, n_slice, slice_pixel, offset, prior_shift, prior_slice, active);
  check_shape(score, "score", {n_image, -1});
  check_shape(index, "index", {n_image, score.shape(1)});
  check_shape(log_max, "log_max", {n_image});
  check_shape(log_sum, "log_sum", {n_image});
  check_positive(threads, "threads");
  const CompareBest best{score.mutable_data(),   index.mutable_data(),   score.shape(1),
                         log_max.mutable_data(), log_sum.mutable_data(), margin,
                         relative_margin};
  py::gil_scoped_release release;
  compare(panel, task, best, threads);
}

static void scores_into(const Array<float>& rows, const Array<float>& weights, std::int64_t n_image,
                        std::int64_t n_shift, std::int64_t n_pixel, std::int64_t n_group, const Array<float>& columns,
                        const Array<float>& norms, std::int64_t n_slice, std::int64_t slice_pixel,
                        const std::optional<Array<float>>& prior_shift, const std::optional<Array<float>>& prior_slice,
                        Array<float> out, int threads) {
  const ImagePanel panel = check_panel(rows, weights, n_image, n_shift, n_pixel, n_group);
  const CompareTask task = check_task(panel, columns, norms, n_slice, slice_pixel, 0, prior_shift, prior_slice, {});
  check_shape(out, "out", {n_image, n_shift, n_slice});
  check_positive(threads, "threads");
  float* scores = out.mutable_data();
  py::gil_scoped_release release;
  compare_scores(panel, task, scores, threads);
}

}  // namespace pycryo::bindings

void bind_compare(pybind11::module_& module) {
  using namespace pybind11::literals;
  namespace b = pycryo::bindings;
  module.attr("compare_cell_slices") = pycryo::cell_slices;
  module.def("compare_pack_images", &b::pack_images, "images"_a.noconvert(), "weights"_a.noconvert(),
             "rows"_a.noconvert(), "n_group"_a, "threads"_a);
  module.def("compare_pack_slices", &b::pack_slices, "slices"_a.noconvert(), "columns"_a.noconvert(),
             "norms"_a.noconvert(), "threads"_a);
  module.def("compare", &b::update_best, "rows"_a.noconvert(), "weights"_a.noconvert(), "n_image"_a, "n_shift"_a,
             "n_pixel"_a, "n_group"_a, "columns"_a.noconvert(), "norms"_a.noconvert(), "n_slice"_a, "slice_pixel"_a,
             "slice_offset"_a, "log_prior_shift"_a.noconvert().none(true), "log_prior_slice"_a.noconvert().none(true),
             "active"_a.noconvert().none(true), "score"_a.noconvert(), "index"_a.noconvert(), "log_max"_a.noconvert(),
             "log_sum"_a.noconvert(), "margin"_a, "relative_margin"_a, "threads"_a);
  module.def("compare_scores", &b::scores_into, "rows"_a.noconvert(), "weights"_a.noconvert(), "n_image"_a, "n_shift"_a,
             "n_pixel"_a, "n_group"_a, "columns"_a.noconvert(), "norms"_a.noconvert(), "n_slice"_a, "slice_pixel"_a,
             "log_prior_shift"_a.noconvert().none(true), "log_prior_slice"_a.noconvert().none(true),
             "out"_a.noconvert(), "threads"_a);
}
