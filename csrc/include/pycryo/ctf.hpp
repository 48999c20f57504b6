// ctf: contrast transfer functions.
//
//   out[i,k] = scale · exp2(decay·r²) · sin(xx·kx² + xy·kx·ky + yy·ky² + quartic·r⁴ + constant + offset[which[i],k])
//
//   r² = kx² + ky²
//
// with the coefficients of image i, which pycryo/kernels/ctf.py derives from defocus, voltage and so on.
//
//   coefficients  n_image           decay·kx² and decay·ky² are each cut to -126 ... 63
//   kx, ky        n_pixel           int     Fourier index, |kx|, |ky| < 2^15
//   offset        n_offset × n_pixel double radians, such as those of an optics group
//   which         n_image           int     -1: no offset
//   out           n_image × n_pixel float
//
// Parallel over images × parts of the list. |phase| < 10^8 rad. A phase is a 64-bit fraction of a turn, whose sums wrap
// as an angle does. Along a row it is a table of kx, computed in double, and a polynomial of second degree, whose steps
// are sums of integers: exact, so that a value depends on (kx, ky) and the coefficients alone, not on its neighbours.
// The sine is a float polynomial with an absolute error below 2e-7, the exponential a product of two with relative
// errors below 3e-7.
#pragma once

#include <cstdint>

#include "pycryo/isa.hpp"
#include "pycryo/runs.hpp"

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

// What kx alone and what ky alone make of an image's function, from x_first and y_first on. The phase at (kx, ky) is
// column[kx] · 2^32 + constant[ky] + slope[ky]·kx + bend[ky]·kx², in turns · 2^64; envelopes: not used where nothing
// decays.
struct CtfTables {
  std::int32_t x_first, y_first;
  std::int64_t n_column, n_row;
  std::int32_t* column;
  std::uint64_t *constant, *slope, *bend;
  float *column_envelope, *row_envelope;
};

}  // namespace pycryo

// Fills n_column columns and n_row rows.
PYCRYO_KERNEL(void ctf_tables(const CtfCoefficients& coefficients, const CtfTables& tables) noexcept)

// Radians as turns · 2^32.
PYCRYO_KERNEL(void ctf_turns(const double* radians, std::int64_t n, std::int32_t* turns) noexcept)

// Runs begin ... end - 1, which follow each other in the list; the tables go on for 16 columns more. `turns`: of all
// samples of the list, or null. out[run.first ...].
PYCRYO_KERNEL(void ctf_rows(const CtfCoefficients& coefficients, const CtfTables& tables, const Run* begin,
                            const Run* end, const std::int32_t* turns, float* out) noexcept)
