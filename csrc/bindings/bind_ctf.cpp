#include "check.hpp"
#include "pycryo/ctf.hpp"

namespace pycryo::bindings {

static void ctf_into(const Array<double>& coefficients, const Array<std::int32_t>& kx, const Array<std::int32_t>& ky,
                     const Array<double>& offset, const Array<std::int32_t>& which, Array<float> out, int threads) {
  static_assert(sizeof(CtfCoefficients) == 7 * sizeof(double));
  check_shape(coefficients, "coefficients", {-1, 7});
  check_shape(kx, "kx", {-1});
  const auto n_image = coefficients.shape(0), n_pixel = kx.shape(0);
  check_shape(ky, "ky", {n_pixel});
  check_index_range<std::int32_t>(kx, "kx", -32767, 32767);
  check_index_range<std::int32_t>(ky, "ky", -32767, 32767);
  check_shape(offset, "offset", {-1, n_pixel});
  check_shape(which, "which", {n_image});
  check_index_range<std::int32_t>(which, "which", -1, static_cast<std::int32_t>(offset.shape(0) - 1));
  check_shape(out, "out", {n_image, n_pixel});
  check_positive(threads, "threads");
  const auto* first = reinterpret_cast<const CtfCoefficients*>(coefficients.data());
  const std::int32_t *x = kx.data(), *y = ky.data();
  const CtfOffsets offsets{offset.data(), which.data()};
  float* values = out.mutable_data();
  py::gil_scoped_release release;
  ctf(first, n_image, x, y, n_pixel, offsets, values, threads);
}

}  // namespace pycryo::bindings

void bind_ctf(pybind11::module_& module) {
  using namespace pybind11::literals;
  module.def("ctf", &pycryo::bindings::ctf_into, "coefficients"_a.noconvert(), "kx"_a.noconvert(), "ky"_a.noconvert(),
             "offset"_a.noconvert(), "which"_a.noconvert(), "out"_a.noconvert(), "threads"_a);
}
