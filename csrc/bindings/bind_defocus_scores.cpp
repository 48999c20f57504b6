#include "check.hpp"
#include "pycryo/defocus_scores.hpp"

namespace pycryo::bindings {

static void defocus_sums_into(const Array<float>& images, const Array<float>& slices, const Array<float>& weights,
                              const Array<float>& sine, const Array<float>& cosine, const Array<std::int32_t>& bin,
                              Array<double> out, int threads) {
  check_shape(images, "images", {-1, -1, 2, -1});
  const auto n_image = images.shape(0), n_pose = images.shape(1), n_pixel = images.shape(3);
  check_shape(slices, "slices", {n_image, n_pose, 2, n_pixel});
  check_shape(weights, "weights", {n_image, n_pixel});
  check_shape(sine, "sine", {n_image, n_pixel});
  check_shape(cosine, "cosine", {n_image, n_pixel});
  check_shape(bin, "bin", {n_pixel});
  check_shape(out, "out", {n_image, n_pose, -1, 4});
  const auto n_bin = out.shape(2);
  check_index_range(bin, "bin", 0, static_cast<std::int32_t>(n_bin) - 1);
  check_positive(threads, "threads");
  const DefocusImages in{images.data(), slices.data(), weights.data(), sine.data(), cosine.data(),
                         n_image,       n_pose,        n_pixel,        bin.data(),  n_bin};
  double* sums = out.mutable_data();
  py::gil_scoped_release release;
  defocus_sums(in, sums, threads);
}

static void defocus_scores_into(const Array<double>& sums, const Array<double>& phase, const Array<double>& first,
                                const Array<double>& step, Array<double> out, int threads) {
  check_shape(sums, "sums", {-1, -1, -1, 4});
  const auto n_image = sums.shape(0), n_pose = sums.shape(1), n_bin = sums.shape(2);
  check_shape(phase, "phase", {n_image, n_bin});
  check_shape(first, "first", {n_image});
  check_shape(step, "step", {n_image});
  check_shape(out, "out", {n_image, n_pose, -1});
  check_positive(threads, "threads");
  const DefocusGrid in{sums.data(), phase.data(), first.data(), step.data(), n_image, n_pose, n_bin, out.shape(2)};
  double* scores = out.mutable_data();
  py::gil_scoped_release release;
  defocus_scores(in, scores, threads);
}

}  // namespace pycryo::bindings

void bind_defocus_scores(pybind11::module_& module) {
  using namespace pybind11::literals;
  module.def("defocus_sums", &pycryo::bindings::defocus_sums_into, "images"_a.noconvert(), "slices"_a.noconvert(),
             "weights"_a.noconvert(), "sine"_a.noconvert(), "cosine"_a.noconvert(), "bin"_a.noconvert(),
             "out"_a.noconvert(), "threads"_a);
  module.def("defocus_scores", &pycryo::bindings::defocus_scores_into, "sums"_a.noconvert(), "phase"_a.noconvert(),
             "first"_a.noconvert(), "step"_a.noconvert(), "out"_a.noconvert(), "threads"_a);
}
