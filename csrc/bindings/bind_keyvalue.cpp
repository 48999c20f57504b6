#include <pybind11/stl.h>

#include "insertion.hpp"
#include "pycryo/keyvalue.hpp"

namespace pycryo::bindings {
namespace {

// Key, re, im, weight.
using Lists = std::tuple<Array<std::int64_t>, Array<double>, Array<double>, Array<double>>;

Lists new_lists(std::int64_t n) {
  return {Array<std::int64_t>(n), Array<double>(n), Array<double>(n), Array<double>(n)};
}

KeyValueSpace space_of(Lists& lists) {
  auto& [key, re, im, weight] = lists;
  return {key.mutable_data(), re.mutable_data(), im.mutable_data(), weight.mutable_data()};
}

KeyValues check_key_values(const Lists& lists) {
  const auto& [key, re, im, weight] = lists;
  check_shape(key, "key", {-1});
  const auto n = key.shape(0);
  check_shape(re, "re", {n});
  check_shape(im, "im", {n});
  check_shape(weight, "weight", {n});
  const std::int64_t* keys = key.data();
  for (py::ssize_t i = 1; i < n; ++i)
    if (keys[i] <= keys[i - 1])
      throw input_error("key: expected ascending numbers, got " + std::to_string(keys[i]) + " after " +
                        std::to_string(keys[i - 1]));
  return {keys, re.data(), im.data(), weight.data(), n};
}

Lists to_key_values(const Array<float>& images, const Array<float>& weights, const Array<std::int64_t>& entry_image,
                    const Array<double>& rotations, const Array<double>& shifts, const Array<double>& entry_weight,
                    const Array<double>& curvature, const Array<std::int32_t>& kx, const Array<std::int32_t>& ky,
                    double box, double magnification, double quantum_value, double quantum_weight, std::int32_t radius,
                    const Array<std::int64_t>& start, std::int32_t first, std::int32_t last, int threads) {
  const Insertion work =
      check_insertion(images, weights, entry_image, rotations, shifts, entry_weight, curvature, kx, ky, box,
                      magnification, quantum_value, quantum_weight, radius, start, first, last, threads);
  std::vector<TileKeyValues> tiles;
  {
    py::gil_scoped_release release;
    tiles = collect_key_values(work.images, work.entries, work.slab, work.quanta, threads);
  }
  Lists lists = new_lists(count_collected(tiles));
  const KeyValueSpace space = space_of(lists);
  {
    py::gil_scoped_release release;
    write_collected(tiles, space, threads);
    tiles.clear();
  }
  return lists;
}

std::int64_t count(const Array<double>& rotations, const Array<double>& curvature, const Array<std::int32_t>& kx,
                   const Array<std::int32_t>& ky, double magnification, std::int32_t radius,
                   const Array<std::int64_t>& start, std::int32_t first, std::int32_t last, int threads) {
  check_shape(rotations, "rotations", {-1, 3, 3});
  check_shape(kx, "kx", {-1});
  const auto n_entry = rotations.shape(0), n_pixel = kx.shape(0);
  check_indices(kx, ky, n_pixel);
  check_positive(threads, "threads");
  const InsertSlab slab = check_slab(radius, start, first, last);
  const std::vector<std::int64_t> image(n_entry);
  const std::vector<double> zeros(2 * n_entry);
  const InsertImages images{nullptr, nullptr, kx.data(), ky.data(), n_pixel, 1, magnification};
  const InsertEntries entries{
      image.data(), rotations.data(), zeros.data(), zeros.data(), check_curvature(curvature, n_entry), n_entry};
  py::gil_scoped_release release;
  return count_key_values(images, entries, slab, threads);
}

Lists merge(const std::vector<Lists>& parts, int threads) {
  check_positive(threads, "threads");
  std::vector<KeyValues> lists;
  for (const Lists& part : parts) lists.push_back(check_key_values(part));
  std::vector<std::int64_t> bounds, counts;
  std::int64_t n = 0;
  {
    py::gil_scoped_release release;
    bounds = merge_bounds(lists, threads);
    counts = count_merged(lists, bounds, threads);
    for (const std::int64_t each : counts) n += each;
  }
  Lists merged = new_lists(n);
  const KeyValueSpace space = space_of(merged);
  py::gil_scoped_release release;
  write_merged(lists, bounds, counts, space, threads);
  return merged;
}

void add(const Array<std::int64_t>& key, const Array<double>& re, const Array<double>& im, const Array<double>& weight,
         std::int32_t radius, const Array<std::int64_t>& start, std::int32_t first, std::int32_t last,
         Array<double> to_re, Array<double> to_im, Array<double> to_weight, int threads) {
  const InsertSlab slab = check_slab(radius, start, first, last);
  const KeyValues list = check_key_values({key, re, im, weight});
  check_positive(threads, "threads");
  const std::int64_t origin = first_voxel(slab), end = end_voxel(slab);
  check_shape(to_re, "re", {end - origin});
  check_shape(to_im, "im", {end - origin});
  check_shape(to_weight, "weight", {end - origin});
  double *sum_re = to_re.mutable_data(), *sum_im = to_im.mutable_data(), *sum_weight = to_weight.mutable_data();
  py::gil_scoped_release release;
  add_key_values(keys_between(list, origin, end), origin, sum_re, sum_im, sum_weight, threads);
}

}  // namespace
}  // namespace pycryo::bindings

void bind_keyvalue(pybind11::module_& module) {
  using namespace pybind11::literals;
  using namespace pycryo::bindings;
  module.def("to_key_values", &to_key_values, PYCRYO_INSERTION_ARGUMENTS, "threads"_a);
  module.def("count_key_values", &count, "rotations"_a.noconvert(), "curvature"_a.noconvert(), "kx"_a.noconvert(),
             "ky"_a.noconvert(), "magnification"_a, "radius"_a, "start"_a.noconvert(), "first"_a, "last"_a,
             "threads"_a);
  module.def("merge_key_values", &merge, "parts"_a.noconvert(), "threads"_a);
  module.def("add_key_values", &add, "key"_a.noconvert(), "re"_a.noconvert(), "im"_a.noconvert(),
             "weight"_a.noconvert(), "radius"_a, "start"_a.noconvert(), "first"_a, "last"_a, "to_re"_a.noconvert(),
             "to_im"_a.noconvert(), "to_weight"_a.noconvert(), "threads"_a);
}
