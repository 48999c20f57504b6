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
    if (in_row != 1 || in_column != 1)
      throw py::value_error("rotation: expected one 1 or -1 in each row and each column");
  }
}

void add(const Array<std::int32_t>& rotation, bool is_imaginary, std::int32_t radius, const Array<std::int64_t>& start,
         std::int32_t from_first, std::int32_t from_last, const Array<double>& from, std::int32_t first,
         std::int32_t last, Array<double> to, int threads) {
  check_rotation(rotation);
  const InsertSlab from_slab = check_slab(radius, start, from_first, from_last);
  const InsertSlab to_slab = check_slab(radius, start, first, last);
  check_shape(from, "from", {end_voxel(from_slab) - first_voxel(from_slab)});
  check_shape(to, "to", {end_voxel(to_slab) - first_voxel(to_slab)});
  check_positive(threads, "threads");
  double* sums = to.mutable_data();
  py::gil_scoped_release release;
  add_mates(rotation.data(), is_imaginary, from_slab, from.data(), to_slab, sums, threads);
}

}  // namespace
}  // namespace pycryo::bindings

void bind_mates(pybind11::module_& module) {
  using namespace pybind11::literals;
  module.def("add_mates", &pycryo::bindings::add, "rotation"_a.noconvert(), "is_imaginary"_a, "radius"_a,
             "start"_a.noconvert(), "from_first"_a, "from_last"_a, "from"_a.noconvert(), "first"_a, "last"_a,
             "to"_a.noconvert(), "threads"_a);
}
