// defocus_scores: log-likelihood of changes of the defocus, at given poses of each image.
//
//   scores[i,p,d] = Σ_k CTF·Re(X_ipk · conj S_ipk) - ½ (CTF² - ½ (sine_ik² + cosine_ik²)) · weights_ik |S_ipk|²
//   CTF           = sine_ik cos φ + cosine_ik sin φ,   φ = phase[i, bin_k] · (first_i + d·step_i)
//
// in two steps: sums over the samples of each bin, which hold all that an image says of its defocus, then the scores of
// as many changes as are wanted. What does not depend on the change is left out (hence the mean of CTF² over a turn is
// subtracted).
//
//   images, slices  n_image × n_pose × 2 × n_pixel  float   X = s·X·exp(+2πi k·t/N)/σ² without CTF, and S: real parts,
//                                                           then imaginary parts
//   weights         n_image × n_pixel               float   s²/σ²
//   sine, cosine    n_image × n_pixel               float   A sin χ and A cos χ of the CTF's argument and envelope
//   bin             n_pixel                         int     0 ≤ bin < n_bin; samples of about the same |k|²
//   sums            n_image × n_pose × n_bin × 4    double  with b = weights·|S|²: Σ sine·Re(X·S*), Σ cosine·Re(X·S*),
//                                                           Σ b (sine² - cosine²), Σ 2 b·sine·cosine
//   phase           n_image × n_bin                 double  radians per unit of change
//   first, step     n_image                         double  the changes of an image
//   scores          n_image × n_pose × n_delta      double
//
// Parallel over images × poses, and over images. All sums in double, in an order of their own for each pose.
#pragma once

#include <cstdint>

#include "pycryo/isa.hpp"
#include "pycryo/shells.hpp"

namespace pycryo {

struct DefocusImages {
  const float* images;
  const float* slices;
  const float* weights;
  const float* sine;
  const float* cosine;
  std::int64_t n_image, n_pose, n_pixel;
  const std::int32_t* bin;
  std::int64_t n_bin;
};

void defocus_sums(const DefocusImages& in, double* sums, int threads);

struct DefocusGrid {
  const double* sums;
  const double* phase;
  const double* first;
  const double* step;
  std::int64_t n_image, n_pose, n_bin, n_delta;
};

void defocus_scores(const DefocusGrid& in, double* scores, int threads);

}  // namespace pycryo

// One pose of one image (rows of length n_pixel); adds to sums[bin].
PYCRYO_KERNEL(void defocus_sums_of_pose(const float* image, const float* slice, const float* weights, const float* sine,
                                        const float* cosine, const std::int32_t* bin, std::int64_t n_pixel,
                                        ShellSums* sums) noexcept)

// scores[d] += sums · rows of wave, of one bin; wave is 4 × n_delta: cos φ, sin φ, -¼ cos 2φ, -¼ sin 2φ.
PYCRYO_KERNEL(void add_defocus_scores(const double* sums, const double* wave, std::int64_t n_delta,
                                      double* scores) noexcept)
