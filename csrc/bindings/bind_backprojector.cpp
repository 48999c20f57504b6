#include "check.hpp"
#include "pycryo/backprojector.hpp"

namespace pycryo::bindings {

static void backproject_into(const Array<float>& images, const Array<float>& weights,
                             const Array<std::int64_t>& entry_image, const Array<double>& rotations,
                             const Array<double>& shifts, const Array<double>& entry_weight,
                             const Array<std::int32_t>& kx, const Array<std::int32_t>& ky, std::int32_t k_max,
                             double box, double magnification, double quantum_value, double quantum_weight,
                             std::int32_t radius, const Array<std::int64_t>& start, std::int32_t first,
                             std::int32_t last, Array<double> re, Array<double> im, Array<double> weight, int threads) {
  check_shape(images, "images", {-1, 2, -1});
  const auto n_image = images.shape(0), n_pixel = images.shape(2);
  check_shape(weights, "weights", {n_image, n_pixel});
  check_shape(entry_image, "entry_image", {-1});
  const auto n_entry = entry_image.shape(0);
  check_shape(rotations, "rotations", {n_entry, 3, 3});
  check_shape(shifts, "shifts", {n_entry, 2});
  check_shape(entry_weight, "entry_weight", {n_entry});
  check_shape(kx, "kx", {n_pixel});
  check_shape(ky, "ky", {n_pixel});
  check_index_range(kx, "kx", -k_max, k_max);
  check_index_range(ky, "ky", -k_max, k_max);
  check_index_range<std::int64_t>(entry_image, "entry_image", 0, n_image - 1);
  check_positive(radius, "radius");
  check_positive(threads, "threads");
  if (radius > 4096)  // cells are counted in 32 bits within a column of 16 layers
    throw py::value_error("radius: expected at most 4096, got " + std::to_string(radius));
  const py::ssize_t layers = 2 * static_cast<py::ssize_t>(radius) + 1;
  check_shape(start, "start", {layers * layers + 1});
  if (first < 0 || last < first || last > layers)
    throw py::value_error("layers: expected 0 to " + std::to_string(layers) + " ascending, got " +
                          std::to_string(first) + ", " + std::to_string(last));
  const py::ssize_t n_voxel = start.data()[last * layers] - start.data()[first * layers];
  check_shape(re, "re", {n_voxel});
  check_shape(im, "im", {n_voxel});
  check_shape(weight, "weight", {n_voxel});
  const InsertImages samples{images.data(), weights.data(), kx.data(), ky.data(), n_pixel, box, magnification};
  const InsertEntries entries{entry_image.data(), rotations.data(), shifts.data(), entry_weight.data(), n_entry};
  const InsertSlab slab{start.data(), radius, first, last};
  const SlabSums sums{re.mutable_data(), im.mutable_data(), weight.mutable_data()};
  py::gil_scoped_release release;
  backproject(samples, entries, slab, {quantum_value, quantum_weight}, sums, threads);
}

}  // namespace pycryo::bindings

void bind_backprojector(pybind11::module_& module) {
  using namespace pybind11::literals;
  module.def("backproject", &pycryo::bindings::backproject_into, "images"_a.noconvert(), "weights"_a.noconvert(),
             "entry_image"_a.noconvert(), "rotations"_a.noconvert(), "shifts"_a.noconvert(),
             "entry_weight"_a.noconvert(), "kx"_a.noconvert(), "ky"_a.noconvert(), "k_max"_a, "box"_a,
             "magnification"_a, "quantum_value"_a, "quantum_weight"_a, "radius"_a, "start"_a.noconvert(), "first"_a,
             "last"_a, "re"_a.noconvert(), "im"_a.noconvert(), "weight"_a.noconvert(), "threads"_a);
}
