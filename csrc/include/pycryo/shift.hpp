// shift: moves images by multiplying their transforms with phase ramps.
//
//   out[i,t,:,k] = image[i,:,k] · exp(+2πi (kx[k]·sx + ky[k]·sy) / box),   (sx, sy) = shifts[i,t]
//
// which moves image i by -(sx, sy) px. A particle at t = -rlnOrigin is centred with shifts = t.
//
//   image   n_image × 2 × n_pixel   float   real parts, then imaginary parts
//   kx, ky  n_pixel                 int     Fourier index, |kx|, |ky| ≤ k_max
//   shifts  n_image × n_shift × 2   double  px, (x, y)
//   out     n_image × n_shift × 2 × n_pixel float; must not overlap image
//
// Parallel over image × shift. The ramp is a product of two tables (one per axis), computed in double.
#pragma once

#include <cstdint>

#include "pycryo/isa.hpp"

namespace pycryo {

struct ShiftImages {
  const float* images;
  std::int64_t n_image;
  const std::int32_t* kx;
  const std::int32_t* ky;
  std::int64_t n_pixel;
  std::int32_t k_max;
  const double* shifts;
  std::int64_t n_shift;
  double box;
};

void shift(const ShiftImages& in, float* out, int threads);

}  // namespace pycryo

// One image, one shift. ramp_x and ramp_y hold cos (first) and sin (second) of 2π k s / box for k = -k_max ... k_max.
PYCRYO_KERNEL(void shift_one(const float* re, const float* im, const std::int32_t* kx, const std::int32_t* ky,
                             std::int64_t n_pixel, std::int32_t k_max, const float* ramp_x, const float* ramp_y,
                             float* out_re, float* out_im) noexcept)
