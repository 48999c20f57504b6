#include "check.hpp"
#include "pycryo/projector.hpp"

namespace pycryo::bindings {

static void project_slices_into(const Array<float>& volume, const Array<double>& rotations,
                                const Array<double>& curvature, const Array<std::int32_t>& kx,
                                const Array<std::int32_t>& ky, double step, Array<float> out, int threads) {
  check_shape(volume, "volume", {-1, -1, -1, 2});
  const auto half = volume.shape(2);
  if (half < 2) throw input_error("volume: expected a third extent of at least 2, got " + std::to_string(half));
  check_shape(volume, "volume", {2 * half - 1, 2 * half - 1, half, 2});
  check_shape(rotations, "rotations", {-1, 3, 3});
  check_shape(kx, "kx", {-1});
  check_shape(ky, "ky", {kx.shape(0)});
  check_shape(out, "out", {rotations.shape(0), 2, kx.shape(0)});
  check_positive(threads, "threads");
  const ProjectSlices in{{volume.data(), static_cast<std::int32_t>(half - 1)},
                         rotations.data(),
                         check_curvature(curvature, rotations.shape(0)),
                         rotations.shape(0),
                         kx.data(),
                         ky.data(),
                         kx.shape(0),
                         step};
  float* slices = out.mutable_data();
  py::gil_scoped_release release;
  project_slices(in, slices, threads);
}

}  // namespace pycryo::bindings

void bind_projector(pybind11::module_& module) {
  using namespace pybind11::literals;
  module.def("project_slices", &pycryo::bindings::project_slices_into, "volume"_a.noconvert(),
             "rotations"_a.noconvert(), "curvature"_a.noconvert(), "kx"_a.noconvert(), "ky"_a.noconvert(), "step"_a,
             "out"_a.noconvert(), "threads"_a);
}
