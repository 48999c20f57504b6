// shells: sums over Fourier shells of two sets of transforms.
//
//   out[...,s,:] = Σ_{k in shell s} n_k · ( Re(a_k·conj(b_k)), |a_k|², |b_k|² )
//
// Images: out n_image × n_shell × 3 double, n_k = 1, shells as given.
//   a, b   n_image × 2 × n_pixel  float   real parts, then imaginary parts
//   shell  n_pixel                int     0 ≤ shell < n_shell
//   Parallel over images. Four images are summed at a time where there are as many for each thread: their vectors hold
//   the same sample of each. Even and odd samples have sums of their own, which are added up last.
// Layers of volumes: out n_layer × n_shell × 3 double, shell = round(|k|), samples of shells ≥ n_shell are left out,
// n_k = 1 in the planes kx = 0 and (box even) kx = box/2 and 2 elsewhere, so that the sums over all layers are those of
// the full transform (each mate that rfftn leaves out counts in its partner's layer).
//   a, b    n_layer × box × (box/2+1) × 2  float or double   as rfftn leaves them, origin at [0, 0, 0]
//   number  n_layer                        int64   0 ≤ number < box, index of each layer along the first axis
//   Parallel over layers.
//
// Products and sums in double. Of layers, four neighbouring samples are added to four sets of sums, which are added up
// last.
#pragma once

#include <cstdint>

#include "pycryo/isa.hpp"

namespace pycryo {

void image_shells(const float* a, const float* b, std::int64_t n_image, std::int64_t n_pixel, const std::int32_t* shell,
                  std::int64_t n_shell, double* out, int threads);

// Real is float or double.
template <class Real>
void layer_shells(const Real* a, const Real* b, const std::int64_t* number, std::int64_t n_layer, std::int64_t box,
                  std::int64_t n_shell, double* out, int threads);

// The four sets of sums of one shell, each padded to a vector.
struct alignas(32) ShellSums {
  double set[4][4];
};

// The sums of one shell of four images: of even and of odd samples, three of each image.
struct alignas(32) FourShellSums {
  double set[2][3][4];
};

}  // namespace pycryo

// Images a, b of n_pixel samples and the three that follow each; adds to sums[shell].
PYCRYO_KERNEL(void shells_of_four_images(const float* a, const float* b, const std::int32_t* shell,
                                         std::int64_t n_pixel, FourShellSums* sums) noexcept)

// One image; adds even samples to sums[shell].set[0], odd ones to set[1]: the same bits.
PYCRYO_KERNEL(void shells_of_image(const float* a, const float* b, const std::int32_t* shell, std::int64_t n_pixel,
                                   ShellSums* sums) noexcept)

// One row along x of a volume, distance2 = ky² + kz²; adds to sums[shell] for shells below n_shell, each sample with
// ½·n_k.
PYCRYO_KERNEL(void shells_of_float_row(const float* a, const float* b, std::int64_t box, std::int64_t distance2,
                                       std::int64_t n_shell, ShellSums* sums) noexcept;
              void shells_of_double_row(const double* a, const double* b, std::int64_t box, std::int64_t distance2,
                                        std::int64_t n_shell, ShellSums* sums) noexcept)
