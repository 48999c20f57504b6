#include "pycryo/mates.hpp"

#include <algorithm>
#include <array>

namespace pycryo {
namespace {

constexpr std::int32_t group_width = 8;  // layers: doubles of a cache line

using Vector = std::array<std::int64_t, 3>;

struct RowAdders {
  decltype(PYCRYO_SELECT(mates_add_row)) row;
  decltype(PYCRYO_SELECT(mates_add_column)) column;
};

// The mates of a row's voxels x are at origin + x · along, with x ≥ 0; `sign` is that of their values.
struct RowMates {
  Vector origin, along;
  double sign;
};

RowMates mates_of(const std::int32_t* rotation, std::int64_t y, std::int64_t z, bool is_imaginary) {
  RowMates mates{{}, {}, 1.0};
  for (int axis = 0; axis < 3; ++axis) {
    mates.along[axis] = rotation[3 * axis];
    mates.origin[axis] = rotation[3 * axis + 1] * y + rotation[3 * axis + 2] * z;
  }
  if (mates.along[0] < 0 || mates.origin[0] < 0) {
    for (Vector* each : {&mates.along, &mates.origin})
      for (std::int64_t& component : *each) component = -component;
    if (is_imaginary) mates.sign = -1;
  }
  return mates;
}

// Adds to the n voxels of a row what they have for mates in a slab; `from` counts voxels as the sphere does.
void add_row(const RowAdders& add, const RowMates& mates, const InsertSlab& slab, const double* from, std::int64_t n,
             double* to) {
  const std::int64_t layers = 2 * std::int64_t{slab.radius} + 1, layer = mates.origin[1] + slab.radius;
  const std::int64_t step_y = mates.along[1], step_z = mates.along[2];
  std::int64_t first = 0, end = n;  // voxels whose mates are in the slab
  if (step_y > 0) {
    first = std::max<std::int64_t>(first, slab.first - layer);
    end = std::min<std::int64_t>(end, slab.last - layer);
  } else if (step_y < 0) {
    first = std::max<std::int64_t>(first, layer - slab.last + 1);
    end = std::min<std::int64_t>(end, layer - slab.first + 1);
  } else if (layer < slab.first || layer >= slab.last) {
    return;
  }
  if (first >= end) return;
  const std::int64_t row = (layer + first * step_y) * layers + mates.origin[2] + first * step_z + slab.radius;
  if (mates.along[0] != 0)
    add.row(from + slab.start[row] + first, mates.sign, end - first, to + first);
  else
    add.column(from + mates.origin[0], slab.start + row, step_y * layers + step_z, mates.sign, end - first, to + first);
}

}  // namespace

void add_mates(const std::int32_t* rotation, bool is_imaginary, const InsertSlab& from_slab, const double* from,
               const InsertSlab& to_slab, double* to, int threads) {
  const RowAdders add{PYCRYO_SELECT(mates_add_row), PYCRYO_SELECT(mates_add_column)};
  const std::int64_t radius = to_slab.radius, layers = 2 * radius + 1;
  const std::int64_t* start = to_slab.start;
  from -= start[from_slab.first * layers];
  to -= start[to_slab.first * layers];
#pragma omp parallel for num_threads(threads) schedule(dynamic)
  for (std::int32_t group = to_slab.first; group < to_slab.last; group += group_width)
    for (std::int64_t z = -radius; z <= radius; ++z)
      for (std::int64_t layer = group; layer < std::min(group + group_width, to_slab.last); ++layer) {
        const std::int64_t row = layer * layers + z + radius, n = start[row + 1] - start[row];
        if (n > 0)
          add_row(add, mates_of(rotation, layer - radius, z, is_imaginary), from_slab, from, n, to + start[row]);
      }
}

}  // namespace pycryo
