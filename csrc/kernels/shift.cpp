#include "pycryo/shift.hpp"

namespace pycryo::PYCRYO_ISA {

void shift_one(const float* __restrict re, const float* __restrict im, const std::int32_t* __restrict kx,
               const std::int32_t* __restrict ky, std::int64_t n_pixel, std::int32_t k_max,
               const float* __restrict ramp_x, const float* __restrict ramp_y, float* __restrict out_re,
               float* __restrict out_im) noexcept {
  const std::int32_t sine = 2 * k_max + 1;
#pragma omp simd
  for (std::int64_t k = 0; k < n_pixel; ++k) {
    const std::int32_t x = kx[k] + k_max, y = ky[k] + k_max;
    const float cx = ramp_x[x], sx = ramp_x[x + sine], cy = ramp_y[y], sy = ramp_y[y + sine];
    const float c = cx * cy - sx * sy, s = cx * sy + sx * cy;
    out_re[k] = re[k] * c - im[k] * s;
    out_im[k] = re[k] * s + im[k] * c;
  }
}

}  // namespace pycryo::PYCRYO_ISA
