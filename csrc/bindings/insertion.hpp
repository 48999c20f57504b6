// Arguments of the kernels that insert images.
#pragma once

#include "check.hpp"
#include "pycryo/tiles.hpp"

namespace pycryo::bindings {

// Fourier indices are exact in float, and a table over ky stays small.
constexpr std::int32_t most_index = 65535;

inline InsertSlab check_slab(std::int32_t radius, const Array<std::int64_t>& start, std::int32_t first,
                             std::int32_t last) {
  check_positive(radius, "radius");
  if (radius > 4096)  // rows of the sphere are counted in 32 bits, and so are places in a layer of tiles
    throw input_error("radius: expected at most 4096, got " + std::to_string(radius));
  const py::ssize_t layers = 2 * static_cast<py::ssize_t>(radius) + 1;
  check_shape(start, "start", {layers * layers + 1});
  if (first < 0 || last < first || last > layers)
    throw input_error("layers: expected 0 to " + std::to_string(layers) + " ascending, got " + std::to_string(first) +
                      ", " + std::to_string(last));
  return {start.data(), radius, first, last};
}

// Range of the voxels of a slab.
inline py::ssize_t first_voxel(const InsertSlab& slab) {
  return slab.start[slab.first * (2 * static_cast<py::ssize_t>(slab.radius) + 1)];
}
inline py::ssize_t end_voxel(const InsertSlab& slab) {
  return slab.start[slab.last * (2 * static_cast<py::ssize_t>(slab.radius) + 1)];
}

inline void check_indices(const Array<std::int32_t>& kx, const Array<std::int32_t>& ky, py::ssize_t n_pixel) {
  check_shape(kx, "kx", {n_pixel});
  check_shape(ky, "ky", {n_pixel});
  check_index_range(kx, "kx", -most_index, most_index);
  check_index_range(ky, "ky", -most_index, most_index);
}

struct Insertion {
  InsertImages images;
  InsertEntries entries;
  InsertSlab slab;
  Quanta quanta;
};

inline Insertion check_insertion(const Array<float>& images, const Array<float>& weights,
                                 const Array<std::int64_t>& entry_image, const Array<double>& rotations,
                                 const Array<double>& shifts, const Array<double>& entry_weight,
                                 const Array<double>& curvature, const Array<std::int32_t>& kx,
                                 const Array<std::int32_t>& ky, double box, double magnification, double quantum_value,
                                 double quantum_weight, std::int32_t radius, const Array<std::int64_t>& start,
                                 std::int32_t first, std::int32_t last, int threads) {
  check_shape(images, "images", {-1, 2, -1});
  const auto n_image = images.shape(0), n_pixel = images.shape(2);
  check_shape(weights, "weights", {n_image, n_pixel});
  check_shape(entry_image, "entry_image", {-1});
  const auto n_entry = entry_image.shape(0);
  check_shape(rotations, "rotations", {n_entry, 3, 3});
  check_shape(shifts, "shifts", {n_entry, 2});
  check_shape(entry_weight, "entry_weight", {n_entry});
  check_indices(kx, ky, n_pixel);
  check_index_range<std::int64_t>(entry_image, "entry_image", 0, n_image - 1);
  check_positive(threads, "threads");
  return {{images.data(), weights.data(), kx.data(), ky.data(), n_pixel, box, magnification},
          {entry_image.data(), rotations.data(), shifts.data(), entry_weight.data(),
           check_curvature(curvature, n_entry), n_entry},
          check_slab(radius, start, first, last),
          {quantum_value, quantum_weight}};
}

}  // namespace pycryo::bindings

// Names of the arguments of check_insertion up to `last`.
#define PYCRYO_INSERTION_ARGUMENTS                                                                         \
  "images"_a.noconvert(), "weights"_a.noconvert(), "entry_image"_a.noconvert(), "rotations"_a.noconvert(), \
      "shifts"_a.noconvert(), "entry_weight"_a.noconvert(), "curvature"_a.noconvert(), "kx"_a.noconvert(), \
      "ky"_a.noconvert(), "box"_a, "magnification"_a, "quantum_value"_a, "quantum_weight"_a, "radius"_a,   \
      "start"_a.noconvert(), "first"_a, "last"_a
