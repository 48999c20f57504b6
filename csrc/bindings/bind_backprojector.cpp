#include "insertion.hpp"
#include "pycryo/backprojector.hpp"

namespace pycryo::bindings {

static void backproject_into(const Array<float>& images, const Array<float>& weights,
                             const Array<std::int64_t>& entry_image, const Array<double>& rotations,
                             const Array<double>& shifts, const Array<double>& entry_weight,
                             const Array<double>& curvature, const Array<std::int32_t>& kx,
                             const Array<std::int32_t>& ky, double box, double magnification, double quantum_value,
                             double quantum_weight, std::int32_t radius, const Array<std::int64_t>& start,
                             std::int32_t first, std::int32_t last, Array<double> re, Array<double> im,
                             Array<double> weight, int threads) {
  const Insertion work =
      check_insertion(images, weights, entry_image, rotations, shifts, entry_weight, curvature, kx, ky, box,
                      magnification, quantum_value, quantum_weight, radius, start, first, last, threads);
  const py::ssize_t n_voxel = end_voxel(work.slab) - first_voxel(work.slab);
  check_shape(re, "re", {n_voxel});
  check_shape(im, "im", {n_voxel});
  check_shape(weight, "weight", {n_voxel});
  const SlabSums sums{re.mutable_data(), im.mutable_data(), weight.mutable_data()};
  py::gil_scoped_release release;
  backproject(work.images, work.entries, work.slab, work.quanta, sums, threads);
}

}  // namespace pycryo::bindings

void bind_backprojector(pybind11::module_& module) {
  using namespace pybind11::literals;
  module.def("backproject", &pycryo::bindings::backproject_into, PYCRYO_INSERTION_ARGUMENTS, "re"_a.noconvert(),
             "im"_a.noconvert(), "weight"_a.noconvert(), "threads"_a);
}
