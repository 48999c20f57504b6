// backprojector: inserts image transforms into a padded half volume by trilinear scatter.
//
// For entry e of image i = entry_image[e] and every sample k = (kx, ky):
//
//   q = padding·scale·Aᵀ(kx, ky, 0),   A = rotations[e];   qx < 0: q → -q and conjugate
//   value[v]  += g(q - v) · entry_weight[e] · images[i,:,k] · exp(+2πi k·shifts[e] / box)    v = 8 neighbours of q
//   weight[v] += g(q - v) · entry_weight[e] · weights[i,k]                                   g = trilinear
//
// Samples with |q| ≥ r - ½ are left out. Only voxels of the layers y + r = first ... last - 1 are changed.
//
//   images        n_image × 2 × n_pixel  float   real parts, then imaginary parts
//   weights       n_image × n_pixel      float
//   entry_image   n_entry                int64
//   rotations     n_entry × 3 × 3        double
//   shifts        n_entry × 2            double  px of the full box, (x, y)
//   entry_weight  n_entry                double
//   kx, ky        n_pixel                int     |kx|, |ky| ≤ k_max
//   start         D² + 1                 int64   first voxel of row (y + r)·D + z + r of the sphere, D = 2r+1
//   re, im, weight  n_voxel              double  voxels of the layers; that at (x, y, z) is start[(y + r)·D + z + r] +
//   x
//
// Each contribution is rounded to a multiple of its quantum (a power of two; 0: not rounded) before it is added. Sums
// of such multiples are exact while they stay below 2^52 quanta, so they do not depend on the order of the entries.
//
// How: blocks of entries are turned into records (cell, fractions, values), sorted by counting into columns of the
// volume (tile × tile cells in y and z, all x), and each column is then filled while it stays in the cache. Parallel
// over entries, then over columns. A column also writes the first voxels of the next ones, so columns are filled in
// four passes (parity of their y and z number) and no voxel has two writers. The order of additions to a voxel depends
// on the entries alone, never on the number of threads.
#pragma once

#include <cstdint>

#include "pycryo/isa.hpp"

namespace pycryo {

struct BackprojectImages {
  const float* images;
  const float* weights;
  const std::int32_t* kx;
  const std::int32_t* ky;
  std::int64_t n_pixel;
  std::int32_t k_max;
  double box;
  double magnification;  // padding · scale
};

struct BackprojectEntries {
  const std::int64_t* image;
  const double* rotations;
  const double* shifts;
  const double* weight;
  std::int64_t n_entry;
};

struct BackprojectVolume {
  const std::int64_t* start;
  double* re;
  double* im;
  double* weight;
  std::int32_t radius;
  std::int32_t first, last;
  double quantum_value;
  double quantum_weight;
};

void backproject(const BackprojectImages& images, const BackprojectEntries& entries, const BackprojectVolume& volume,
                 int threads);

// One sample on its way into the volume. `row` is the row of its lowest neighbour relative to the column's first row
// (D rows to a layer), x its place there.
struct alignas(32) BackprojectRecord {
  std::int32_t x, row;
  float fx, fy, fz;
  float re, im, weight;
};

// Where an entry's samples go: q = kx·along_x + ky·along_y. Columns are numbered y · columns_per_axis + z; the number
// columns_per_axis² collects the samples that touch no layer from first to last - 1.
struct BackprojectPlane {
  double along_x[3];
  double along_y[3];
  std::int32_t radius;
  std::int32_t first, last;
  std::int32_t tile_bits;
  std::int32_t columns_per_axis;
};

// The sphere's rows seen from a column: `start` of its first row, the voxel that re, im and weight begin with, and the
// rows (relative to the first) whose voxels may be changed.
struct BackprojectColumn {
  const std::int64_t* start;
  std::int64_t origin;
  std::int32_t layer;
  std::int32_t first, last;
};

}  // namespace pycryo

// Adds to count[column] the number of samples of one entry.
PYCRYO_KERNEL(void backproject_count(const BackprojectPlane& plane, const std::int32_t* kx, const std::int32_t* ky,
                                     std::int64_t n_pixel, std::int64_t* count) noexcept)

// Writes the records of one entry to records[cursor[column]++]. ramp_x and ramp_y hold cos (first) and sin (second) of
// 2π k·shift / box for k = -k_max ... k_max; ramp_x and entry_weight scale the values.
PYCRYO_KERNEL(void backproject_sort(const BackprojectPlane& plane, const std::int32_t* kx, const std::int32_t* ky,
                                    std::int64_t n_pixel, const float* re, const float* im, const float* weight,
                                    std::int32_t k_max, const float* ramp_x, const float* ramp_y, float entry_weight,
                                    BackprojectRecord* records, std::int64_t* cursor) noexcept)

// Adds n records to a column.
PYCRYO_KERNEL(void backproject_add(const BackprojectRecord* records, std::int64_t n, const BackprojectColumn& column,
                                   double quantum_value, double quantum_weight, double* re, double* im,
                                   double* weight) noexcept)
