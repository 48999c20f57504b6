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
// Parallel over image × shift. The ramp is a product of two tables (one per axis), computed in double; a row's factor
// is a number, those of its samples follow each other in the table.
#pragma once

#include <cstdint>

#include "pycryo/isa.hpp"
#include "pycryo/runs.hpp"

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

// cos (ramp, 2 k_max + 1 places), then sin of k·angle for k = -k_max ... k_max, where (cosine, sine) are those of
// `angle`; scratch 2 (k_max + 1).
PYCRYO_KERNEL(void shift_ramp(double cosine, double sine, std::int32_t k_max, double* scratch, float* ramp) noexcept)

// One image of n_pixel samples, one shift. ramp_x, ramp_y: as shift_ramp leaves them, ramp_x with 16 more places.
PYCRYO_KERNEL(void shift_rows(const float* image, const Run* begin, const Run* end, std::int64_t n_pixel,
                              std::int32_t k_max, const float* ramp_x, const float* ramp_y, float* out) noexcept)
