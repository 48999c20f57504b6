#include "insertion.hpp"
#include "pycryo/mates.hpp"

namespace pycryo::bindings {
namespace {

void check_rotation(const Array<std::int32_t>& rotation) {
  check_shape(rotation, "rotation", {3, 3});
  const std::int32_t* r = rotation.data();
  for (int i = 0; i < 3; ++i) {
    int in_row = 0, in_column = 0;
    for (int j = 0; j < 3; ++j) {
      in_row += r[3 * i + j] * r[3 * i + j];
      in_column += r[3 * j + i] * r[3 * j + i];
    }
    if (in_row != 1 || in_column != 1) throw input_error("rotation: expected one 1 or -1 in each row and each column");
  }
}

void add(const Array<std::int32_t>& rotation, bool is_imaginary, std::int32_t radius, const Array<std::int64_t>& start,
         std::int32_t source_first, std::int32_t source_last, const Array<double>& source, std::int32_t first,
         std::int32_t last, Array<double> target, int threads) {
  check_rotation(rotation);
  const InsertSlab source_slab = check_slab(radius, start, source_first, source_last);
  const InsertSlab target_slab = check_slab(radius, start, first, last);
  check_shape(source, "source", {end_voxel(source_slab) - first_voxel(source_slab)});
  check_shape(target, "target", {end_voxel(target_slab) - first_voxel(target_slab)});
  check_positive(threads, "threads");
  double* sums = target.mutable_data();
  py::gil_scoped_release release;
  add_mates(rotation.data(), is_imaginary, source_slab, source.data(), target_slab, sums, threads);
}

}  // namespace
}  // namespace pycryo::bindings

void bind_mates(pybind11::module_& module) {
  using namespace pybind11::literals;
  module.def("add_mates", &pycryo::bindings::add, "rotation"_a.noconvert(), "is_imaginary"_a, "radius"_a,
             "start"_a.noconvert(), "source_first"_a, "source_last"_a, "source"_a.noconvert(), "first"_a, "last"_a,
             "target"_a.noconvert(), "threads"_a);
}
