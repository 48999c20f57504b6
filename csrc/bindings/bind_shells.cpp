#include "check.hpp"
#include "pycryo/shells.hpp"

namespace pycryo::bindings {

static void image_shells_into(const Array<float>& a, const Array<float>& b, const Array<std::int32_t>& shell,
                              Array<double> out, int threads) {
  check_shape(a, "a", {-1, 2, -1});
  const auto n_image = a.shape(0), n_pixel = a.shape(2);
  check_shape(b, "b", {n_image, 2, n_pixel});
  check_shape(shell, "shell", {n_pixel});
  check_shape(out, "out", {n_image, -1, 3});
  const auto n_shell = out.shape(1);
  check_index_range(shell, "shell", 0, static_cast<std::int32_t>(n_shell) - 1);
  check_positive(threads, "threads");
  const float *first = a.data(), *second = b.data();
  const std::int32_t* of_pixel = shell.data();
  double* sums = out.mutable_data();
  py::gil_scoped_release release;
  image_shells(first, second, n_image, n_pixel, of_pixel, n_shell, sums, threads);
}

template <class Real>
static void layer_shells_into(const Array<Real>& a, const Array<Real>& b, const Array<std::int64_t>& number,
                              Array<double> out, int threads) {
  check_shape(a, "a", {-1, -1, -1, 2});
  const auto n_layer = a.shape(0), box = a.shape(1);
  check_shape(a, "a", {n_layer, box, box / 2 + 1, 2});
  check_shape(b, "b", {n_layer, box, box / 2 + 1, 2});
  check_shape(number, "number", {n_layer});
  check_index_range(number, "number", std::int64_t{0}, static_cast<std::int64_t>(box) - 1);
  check_shape(out, "out", {n_layer, -1, 3});
  check_positive(threads, "threads");
  const Real *first = a.data(), *second = b.data();
  const std::int64_t* of_layer = number.data();
  double* sums = out.mutable_data();
  const auto n_shell = out.shape(1);
  py::gil_scoped_release release;
  layer_shells(first, second, of_layer, n_layer, box, n_shell, sums, threads);
}

template <class Real>
static void bind_layer_shells(py::module_& module) {
  using namespace py::literals;
  module.def("layer_shells", &layer_shells_into<Real>, "a"_a.noconvert(), "b"_a.noconvert(), "number"_a.noconvert(),
             "out"_a.noconvert(), "threads"_a);
}

}  // namespace pycryo::bindings

void bind_shells(pybind11::module_& module) {
  using namespace pybind11::literals;
  module.def("image_shells", &pycryo::bindings::image_shells_into, "a"_a.noconvert(), "b"_a.noconvert(),
             "shell"_a.noconvert(), "out"_a.noconvert(), "threads"_a);
  pycryo::bindings::bind_layer_shells<float>(module);
  pycryo::bindings::bind_layer_shells<double>(module);
}
