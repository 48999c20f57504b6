// gridding: element-wise work on one layer of a packed sphere (pycryo.kernels.sphere.Sphere), the voxels of one y row
// by row, and on one plane of the grid.
//
// Shell of a voxel: round(|k| · shells_per_px), halves to the even one. Voxels with |k|² ≤ inside are *inside*; W is
// zero elsewhere. *Interior* are those whose neighbours up to 2 voxels away along every axis are inside and within
// reach.
//
//   gridding_shell_sums   sums[s] = (Σ T, number of voxels) of shell s
//   gridding_start        W = 1 / target inside, 0 elsewhere,   target = T + add[shell]
//   gridding_product      product = W · target inside; nothing is written elsewhere
//   gridding_place        samples = re + i·im inside; nothing is written elsewhere
//   gridding_deviation    max |C - 1| over the interior, C = Re samples; 0 if there is none
//   gridding_divide       W /= max(C, 1e-6) inside
//   gridding_scale        points[y, x] *= along_y[y] · along_x[x]
//
//   T, W, re, im, product   voxels of the layer   double
//   add                     n_shell               double
//   samples                 n × width × 2         Real   axes (z, x), z in the order of numpy.fft, width ≤ reach + 1
//   sums                    n_shell × 2           double
//   points                  n_y × n_x             Real
//   along_y, along_x        n_y, n_x              Real
//
// Voxels out of reach are not on the grid: they are in no shell. One thread; call it for several layers or planes at a
// time.
#pragma once

#include <cstdint>

#include "pycryo/isa.hpp"

namespace pycryo {

struct GriddingLayer {
  const std::int64_t* start;  // number of the first voxel of each row z = -radius ... radius, and their end
  std::int64_t radius, y;
  std::int64_t n, reach;  // points of the grid per axis, and the largest |x|, |y|, |z| that it holds, < n / 2
  std::int64_t inside;
  double shells_per_px;  // 1 / padding
};

void gridding_shell_sums(const GriddingLayer& layer, const double* weight, std::int64_t n_shell, double* sums);
void gridding_start(const GriddingLayer& layer, const double* weight, const double* add, double* w);
void gridding_product(const GriddingLayer& layer, const double* weight, const double* add, const double* w,
                      double* product);

// Real is float or double; im may be null: zero.
template <class Real>
void gridding_place(const GriddingLayer& layer, const double* re, const double* im, Real* samples, std::int64_t width);
template <class Real>
double gridding_deviation(const GriddingLayer& layer, const Real* samples, std::int64_t width);
template <class Real>
void gridding_divide(const GriddingLayer& layer, const Real* samples, std::int64_t width, double* w);
template <class Real>
void gridding_scale(Real* points, std::int64_t n_y, std::int64_t n_x, const Real* along_y, const Real* along_x);

}  // namespace pycryo

// One row of n voxels x = 0, 1, ...; distance2 = y² + z². sums is n_shell × 4 × 2, voxel x adds to set x % 4.
PYCRYO_KERNEL(void gridding_sum_row(const double* weight, std::int64_t n, double distance2, double per_px,
                                    double* sums) noexcept;
              void gridding_start_row(const double* weight, const double* add, std::int64_t n, double distance2,
                                      double per_px, double* w) noexcept;
              void gridding_product_row(const double* weight, const double* add, const double* w, std::int64_t n,
                                        double distance2, double per_px, double* product) noexcept;
              void gridding_place_float(const double* re, const double* im, std::int64_t n, float* samples) noexcept;
              void gridding_place_double(const double* re, const double* im, std::int64_t n, double* samples) noexcept;
              double gridding_deviation_float(const float* samples, std::int64_t n) noexcept;
              double gridding_deviation_double(const double* samples, std::int64_t n) noexcept;
              void gridding_divide_float(const float* samples, std::int64_t n, double* w) noexcept;
              void gridding_divide_double(const double* samples, std::int64_t n, double* w) noexcept;
              void gridding_scale_float(float* row, std::int64_t n, float factor, const float* along_x) noexcept;
              void gridding_scale_double(double* row, std::int64_t n, double factor, const double* along_x) noexcept)
