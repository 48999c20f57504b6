// mates: adds to each voxel of a slab the value at its symmetry mate, for a rotation that maps the grid onto itself.
//
//   to[v] += from[R v]                         if (R v).x > 0, or (R v).x = 0 and R takes no x ≥ 0 to it from below
//   to[v] += conj(from[-R v]) = ±from[-R v]    else;  - for the imaginary parts
//
//   rotation  3 × 3   int32   R: one 1 or -1 in each row and each column, axes x, y, z
//   start     D² + 1  int64   first voxel of row (y + r)·D + z + r of the sphere, D = 2r+1
//   from, to          double  voxels of two slabs of the sphere, each counted from its slab's first
//
// Mates that are not in the slab `from` are left out. In the plane x = 0 either side of a pair may be read, so that
// `from` has to be folded. `from` and `to` are different memory. Parallel over groups of layers of `to`; each voxel is
// added to once. A group is as wide as a cache line: where a row's mates are in a column, those of its neighbours are
// on the same lines.
#pragma once

#include <cstdint>

#include "pycryo/isa.hpp"
#include "pycryo/tiles.hpp"

namespace pycryo {

void add_mates(const std::int32_t* rotation, bool is_imaginary, const InsertSlab& from_slab, const double* from,
               const InsertSlab& to_slab, double* to, int threads);

}  // namespace pycryo

// to[i] += sign · from[i] for n voxels.
PYCRYO_KERNEL(void mates_add_row(const double* from, double sign, std::int64_t n, double* to) noexcept)

// to[i] += sign · from[start[step · i]] for n voxels.
PYCRYO_KERNEL(void mates_add_column(const double* from, const std::int64_t* start, std::int64_t step, double sign,
                                    std::int64_t n, double* to) noexcept)
