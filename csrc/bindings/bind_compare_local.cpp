#include <pybind11/stl.h>

#include <vector>

#include "check.hpp"
#include "pycryo/compare_local.hpp"

namespace pycryo::bindings {

static void compare_local_into(const std::vector<Array<float>>& volumes, const Array<std::int32_t>& classes,
                               const Array<double>& rotations, const Array<double>& shifts,
                               const Array<std::int64_t>& places, const Array<float>& images,
                               const Array<float>& weights, const Array<std::int32_t>& kx,
                               const Array<std::int32_t>& ky, double box, double step, Array<float> out, int threads) {
  std::vector<HalfVolume> each;
  for (const Array<float>& volume : volumes) {
    check_shape(volume, "volume", {-1, -1, -1, 2});
    const auto half = volume.shape(2);
    if (half < 2) throw input_error("volume: expected a third extent of at least 2, got " + std::to_string(half));
    check_shape(volume, "volume", {2 * half - 1, 2 * half - 1, half, 2});
    each.push_back({volume.data(), static_cast<std::int32_t>(half - 1)});
  }
  check_shape(images, "images", {-1, 2, -1});
  check_shape(places, "places", {-1});
  check_index_range(places, "places", std::int64_t{0}, static_cast<std::int64_t>(images.shape(0)) - 1);
  const auto n_image = places.shape(0), n_pixel = images.shape(2);
  check_shape(rotations, "rotations", {n_image, -1, 3, 3});
  check_shape(classes, "classes", {n_image, rotations.shape(1)});
  check_index_range(classes, "classes", 0, static_cast<std::int32_t>(each.size()) - 1);
  check_shape(shifts, "shifts", {n_image, -1, 2});
  check_shape(weights, "weights", {images.shape(0), n_pixel});
  check_shape(kx, "kx", {n_pixel});
  check_shape(ky, "ky", {n_pixel});
  check_shape(out, "out", {n_image, rotations.shape(1), shifts.shape(1)});
  check_positive(threads, "threads");
  check_index_range(kx, "kx", -4095, 4095);
  check_index_range(ky, "ky", -4095, 4095);
  const CompareLocal in{
      each.data(), classes.data(),     rotations.data(), shifts.data(), places.data(), images.data(), weights.data(),
      n_image,     rotations.shape(1), shifts.shape(1),  kx.data(),     ky.data(),     n_pixel,       box,
      step};
  float* scores = out.mutable_data();
  py::gil_scoped_release release;
  compare_local(in, scores, threads);
}

}  // namespace pycryo::bindings

void bind_compare_local(pybind11::module_& module) {
  using namespace pybind11::literals;
  module.def("compare_local", &pycryo::bindings::compare_local_into, "volumes"_a.noconvert(), "classes"_a.noconvert(),
             "rotations"_a.noconvert(), "shifts"_a.noconvert(), "places"_a.noconvert(), "images"_a.noconvert(),
             "weights"_a.noconvert(), "kx"_a.noconvert(), "ky"_a.noconvert(), "box"_a, "step"_a, "out"_a.noconvert(),
             "threads"_a);
}
