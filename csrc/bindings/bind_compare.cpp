#include <pybind11/stl.h>

#include <optional>

#include "check.hpp"
#include "pycryo/compare.hpp"

namespace pycryo::bindings {

static ComparePanel check_panel(const Array<float>& rows, const Array<float>& weights, std::int64_t n_image,
                                std::int64_t n_shift, std::int64_t n_pixel, std::int64_t n_group) {
  check_shape(rows, "rows", {n_image * n_shift * 2 * n_pixel});
  check_shape(weights, "weights", {n_image * n_pixel});
  if (n_image > 0) check_positive(n_group, "n_group");
  if (n_shift >= std::int64_t{1} << 23)  // indices of a block of slices have 32 bits
    throw py::value_error("n_shift: expected less than 8388608, got " + std::to_string(n_shift));
  return {rows.data(), weights.data(), n_image, n_shift, n_pixel, n_group};
}

static CompareSlices check_slices(const ComparePanel& panel, const Array<float>& slices, std::int64_t offset,
                                  const std::optional<Array<float>>& prior_shift,
                                  const std::optional<Array<float>>& prior_slice) {
  check_shape(slices, "slices", {-1, 2, panel.n_pixel});
  if (prior_shift) check_shape(*prior_shift, "log_prior_shift", {panel.n_image, panel.n_shift});
  if (prior_slice) check_shape(*prior_slice, "log_prior_slice", {slices.shape(0)});
  return {slices.data(), slices.shape(0), offset, prior_shift ? prior_shift->data() : nullptr,
          prior_slice ? prior_slice->data() : nullptr};
}

static void pack(const Array<float>& images, const Array<float>& weights, Array<float> rows,
                 Array<float> packed_weights, std::int64_t n_group, int threads) {
  check_shape(images, "images", {-1, -1, 2, -1});
  check_shape(weights, "weights", {images.shape(0), images.shape(3)});
  check_positive(threads, "threads");
  const ComparePanel panel =
      check_panel(rows, packed_weights, images.shape(0), images.shape(1), images.shape(3), n_group);
  const float *from = images.data(), *from_weights = weights.data();
  float *to = rows.mutable_data(), *to_weights = packed_weights.mutable_data();
  py::gil_scoped_release release;
  compare_pack(from, from_weights, panel, to, to_weights, threads);
}

static void update_best(const Array<float>& rows, const Array<float>& weights, std::int64_t n_image,
                        std::int64_t n_shift, std::int64_t n_pixel, std::int64_t n_group, const Array<float>& slices,
                        std::int64_t offset, const std::optional<Array<float>>& prior_shift,
                        const std::optional<Array<float>>& prior_slice, Array<float> score, Array<std::int64_t> index,
                        Array<double> log_max, Array<double> log_sum, int threads) {
  const ComparePanel panel = check_panel(rows, weights, n_image, n_shift, n_pixel, n_group);
  const CompareSlices in = check_slices(panel, slices, offset, prior_shift, prior_slice);
  check_shape(score, "score", {n_image, -1});
  check_shape(index, "index", {n_image, score.shape(1)});
  check_shape(log_max, "log_max", {n_image});
  check_shape(log_sum, "log_sum", {n_image});
  check_positive(threads, "threads");
  const CompareBest best{score.mutable_data(), index.mutable_data(), score.shape(1), log_max.mutable_data(),
                         log_sum.mutable_data()};
  py::gil_scoped_release release;
  compare(panel, in, best, threads);
}

static void scores_into(const Array<float>& rows, const Array<float>& weights, std::int64_t n_image,
                        std::int64_t n_shift, std::int64_t n_pixel, std::int64_t n_group, const Array<float>& slices,
                        const std::optional<Array<float>>& prior_shift, const std::optional<Array<float>>& prior_slice,
                        Array<float> out, int threads) {
  const ComparePanel panel = check_panel(rows, weights, n_image, n_shift, n_pixel, n_group);
  const CompareSlices in = check_slices(panel, slices, 0, prior_shift, prior_slice);
  check_shape(out, "out", {n_image, n_shift, slices.shape(0)});
  check_positive(threads, "threads");
  float* scores = out.mutable_data();
  py::gil_scoped_release release;
  compare_scores(panel, in, scores, threads);
}

}  // namespace pycryo::bindings

void bind_compare(pybind11::module_& module) {
  using namespace pybind11::literals;
  namespace b = pycryo::bindings;
  module.def("compare_pack", &b::pack, "images"_a.noconvert(), "weights"_a.noconvert(), "rows"_a.noconvert(),
             "packed_weights"_a.noconvert(), "n_group"_a, "threads"_a);
  module.def("compare", &b::update_best, "rows"_a.noconvert(), "weights"_a.noconvert(), "n_image"_a, "n_shift"_a,
             "n_pixel"_a, "n_group"_a, "slices"_a.noconvert(), "slice_offset"_a,
             "log_prior_shift"_a.noconvert().none(true), "log_prior_slice"_a.noconvert().none(true),
             "score"_a.noconvert(), "index"_a.noconvert(), "log_max"_a.noconvert(), "log_sum"_a.noconvert(),
             "threads"_a);
  module.def("compare_scores", &b::scores_into, "rows"_a.noconvert(), "weights"_a.noconvert(), "n_image"_a, "n_shift"_a,
             "n_pixel"_a, "n_group"_a, "slices"_a.noconvert(), "log_prior_shift"_a.noconvert().none(true),
             "log_prior_slice"_a.noconvert().none(true), "out"_a.noconvert(), "threads"_a);
}
