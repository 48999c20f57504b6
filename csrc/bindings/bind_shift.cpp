#include "check.hpp"
#include "pycryo/shift.hpp"

namespace pycryo::bindings {

static void shift_into(const Array<float>& images, const Array<std::int32_t>& kx, const Array<std::int32_t>& ky,
                       const Array<double>& shifts, double box, std::int32_t k_max, Array<float> out, int threads) {
  check_shape(images, "images", {-1, 2, -1});
  const auto n_image = images.shape(0), n_pixel = images.shape(2);
  check_shape(kx, "kx", {n_pixel});
  check_shape(ky, "ky", {n_pixel});
  check_shape(shifts, "shifts", {n_image, -1, 2});
  check_shape(out, "out", {n_image, shifts.shape(1), 2, n_pixel});
  check_positive(threads, "threads");
  check_index_range(kx, "kx", -k_max, k_max);
  check_index_range(ky, "ky", -k_max, k_max);
  const ShiftImages in{images.data(), n_image,       kx.data(),       ky.data(), n_pixel,
                       k_max,         shifts.data(), shifts.shape(1), box};
  float* moved = out.mutable_data();
  py::gil_scoped_release release;
  shift(in, moved, threads);
}

}  // namespace pycryo::bindings

void bind_shift(pybind11::module_& module) {
  using namespace pybind11::literals;
  module.def("shift", &pycryo::bindings::shift_into, "images"_a.noconvert(), "kx"_a.noconvert(), "ky"_a.noconvert(),
             "shifts"_a.noconvert(), "box"_a, "k_max"_a, "out"_a.noconvert(), "threads"_a);
}
