// ctf: contrast transfer functions.
//
//   out[i,k] = scale · exp2(decay·r²) · sin(xx·kx² + xy·kx·ky + yy·ky² + quartic·r⁴ + constant + offset[which[i],k])
//
//   r² = kx² + ky²
//
// with the coefficients of image i, which pycryo/kernels/ctf.py derives from defocus, voltage and so on.
//
//   coefficients  n_image           decay·r² is cut to -126 ... 126
//   kx, ky        n_pixel           int     Fourier index
//   offset        n_offset × n_pixel double radians, such as those of an optics group
//   which         n_image           int     -1: no offset
//   out           n_image × n_pixel float
//
// Parallel over images × chunks of samples. The phase is computed and reduced in double (|phase| < 10^8 rad), sine and
// exponential are float polynomials with absolute errors below 2e-7 and relative errors below 3e-7.
#pragma once

#include <cstdint>

#include "pycryo/isa.hpp"

namespace pycryo {

struct CtfCoefficients {
  double xx, xy, yy, quartic, constant, decay, scale;
};

struct CtfOffsets {
  const double* offset;
  const std::int32_t* which;
};

void ctf(const CtfCoefficients* coefficients, std::int64_t n_image, const std::int32_t* kx, const std::int32_t* ky,
         std::int64_t n_pixel, const CtfOffsets& offsets, float* out, int threads);

}  // namespace pycryo

// `offset`: of these samples, or null.
PYCRYO_KERNEL(void ctf_samples(const CtfCoefficients& coefficients, const std::int32_t* kx, const std::int32_t* ky,
                               const double* offset, std::int64_t n_pixel, float* out) noexcept)
