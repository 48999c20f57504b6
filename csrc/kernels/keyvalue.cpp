#include "pycryo/keyvalue.hpp"

namespace pycryo::PYCRYO_ISA {

std::int64_t keyvalue_take(double (*__restrict voxel)[4], std::uint64_t touched, std::int64_t first,
                           const KeyValueSpace& to) noexcept {
  std::int64_t n = 0;
  for (; touched != 0; touched &= touched - 1, ++n) {
    const int x = __builtin_ctzll(touched);
    to.key[n] = first + x;
    to.re[n] = voxel[x][0];
    to.im[n] = voxel[x][1];
    to.weight[n] = voxel[x][2];
    for (int part = 0; part < 4; ++part) voxel[x][part] = 0;
  }
  return n;
}

void keyvalue_spread(const KeyValues& list, std::int64_t first, double (*__restrict voxel)[4],
                     std::uint64_t* __restrict touched) noexcept {
  for (std::int64_t i = 0; i < list.n; ++i) {
    const std::int64_t at = list.key[i] - first;
    touched[at / 64] |= std::uint64_t{1} << (at % 64);
    voxel[at][0] += list.re[i];
    voxel[at][1] += list.im[i];
    voxel[at][2] += list.weight[i];
  }
}

void keyvalue_add(const KeyValues& list, std::int64_t first, double* __restrict re, double* __restrict im,
                  double* __restrict weight) noexcept {
#pragma omp simd  // no key is there twice
  for (std::int64_t i = 0; i < list.n; ++i) {
    const std::int64_t at = list.key[i] - first;
    re[at] += list.re[i];
    im[at] += list.im[i];
    weight[at] += list.weight[i];
  }
}

}  // namespace pycryo::PYCRYO_ISA
