// backprojector: inserts image transforms into a padded half volume by trilinear scatter.
//
// For entry e of image i = entry_image[e] and every sample k = (kx, ky):
//
//   q = padding·scale·Aᵀ(kx, ky, 0),   A = rotations[e];   qx < 0: q → -q and conjugate
//   value[v]  += g(q - v) · entry_weight[e] · images[i,:,k] · exp(+2πi k·shifts[e] / box)    v = 8 neighbours of q
//   weight[v] += g(q - v) · entry_weight[e] · weights[i,k]                                   g = trilinear
//
// Samples with |q| ≥ r - ½ are left out.
//
//   images        n_image × 2 × n_pixel  float   real parts, then imaginary parts
//   weights       n_image × n_pixel      float
//   entry_image   n_entry                int64
//   rotations     n_entry × 3 × 3        double
//   shifts        n_entry × 2            double  px of the full box, (x, y)
//   entry_weight  n_entry                double
//   kx, ky        n_pixel                int     |kx|, |ky| ≤ k_max
//   re, im, weight  D × D × H            double  D = 2r+1, H = r+1, index [z + r, y + r, x]
//
// Each contribution is rounded to a multiple of its quantum (a power of two; 0: not rounded) before it is added. Sums
// of such multiples are exact while they stay below 2^52 quanta, so they do not depend on the order of the entries.
//
// How: blocks of entries are turned into records (cell, fractions, values), sorted by counting into columns of the
// volume (tile × tile cells in z and y, all x), and each column is then filled while it stays in the cache. Parallel
// over entries, then over columns. A column also writes the first voxels of the next ones, so columns are filled in
// four passes (parity of their z and y number) and no voxel has two writers. The order of additions to a voxel depends
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
  double* re;
  double* im;
  double* weight;
  std::int32_t radius;
  double quantum_value;
  double quantum_weight;
};

void backproject(const BackprojectImages& images, const BackprojectEntries& entries, const BackprojectVolume& volume,
                 int threads);

// One sample on its way into the volume. `cell` is the index of its lowest neighbour relative to the column's first
// voxel.
struct alignas(32) BackprojectRecord {
  std::int32_t cell;
  float fx, fy, fz;
  float re, im, weight;
};

// Where an entry's samples go: q = kx·along_x + ky·along_y. Columns are numbered z · columns_per_axis + y; the number
// columns_per_axis² collects the samples outside the volume.
struct BackprojectPlane {
  double along_x[3];
  double along_y[3];
  std::int32_t radius;
  std::int32_t tile_bits;
  std::int32_t columns_per_axis;
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

// Adds n records to the column whose first voxel re, im and weight point to.
PYCRYO_KERNEL(void backproject_add(const BackprojectRecord* records, std::int64_t n, std::int32_t radius,
                                   double quantum_value, double quantum_weight, double* re, double* im,
                                   double* weight) noexcept)
