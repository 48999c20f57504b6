// backprojector: inserts image transforms into a slab of a padded half volume by trilinear scatter.
//
// What is added, and how, is said in tiles.hpp; re, im and weight (n_voxel, double) are the voxels of the slab's
// layers: that at (x, y, z) is number start[(y + r)·D + z + r] + x, counted from the first of the slab. A tile is
// summed in the cache and then added to them. Parallel over tiles.
#pragma once

#include "pycryo/tiles.hpp"

namespace pycryo {

struct SlabSums {
  double* re;
  double* im;
  double* weight;
};

void backproject(const InsertImages& images, const InsertEntries& entries, const InsertSlab& slab, const Quanta& quanta,
                 const SlabSums& sums, int threads);

}  // namespace pycryo

// Adds n voxels to re, im and weight and leaves zeros.
PYCRYO_KERNEL(void backproject_add_row(double (*voxel)[4], std::int64_t n, double* re, double* im,
                                       double* weight) noexcept)

// The same for the voxels x whose bit x + 1 of `touched` is set.
PYCRYO_KERNEL(void backproject_add_touched(double (*voxel)[4], std::uint64_t touched, double* re, double* im,
                                           double* weight) noexcept)
