#include "pycryo/backprojector.hpp"

namespace pycryo::PYCRYO_ISA {

void backproject_add_row(double (*__restrict voxel)[4], std::int64_t n, double* __restrict re, double* __restrict im,
                         double* __restrict weight) noexcept {
#pragma omp simd
  for (std::int64_t x = 0; x < n; ++x) {
    re[x] += voxel[x][0];
    im[x] += voxel[x][1];
    weight[x] += voxel[x][2];
  }
  for (std::int64_t x = 0; x < n; ++x)
    for (int part = 0; part < 4; ++part) voxel[x][part] = 0;
}

void backproject_add_touched(double (*__restrict voxel)[4], std::uint64_t touched, double* __restrict re,
                             double* __restrict im, double* __restrict weight) noexcept {
  for (std::uint64_t rest = touched >> 1; rest != 0; rest &= rest - 1) {
    const int x = __builtin_ctzll(rest);
    re[x] += voxel[x][0];
    im[x] += voxel[x][1];
    weight[x] += voxel[x][2];
    for (int part = 0; part < 4; ++part) voxel[x][part] = 0;
  }
}

}  // namespace pycryo::PYCRYO_ISA
