// compare_local: log-likelihood of each image's own orientations × its own shifts.
//
//   scores[i,r,t] = Σ_k Re( images[p,k] · exp(+2πi k·shifts[i,t]/box) · conj S_ir[k] ) - ½ Σ_k weights[p,k] |S_ir[k]|²
//   p             = places[i]
//   S_ir[k]       = volumes[classes[i,r]]( step · A_irᵀ (kx[k], ky[k], 0) )        trilinear as in projector.hpp
//
//   volumes    n_class, D × D × H × 2     float   as in projector.hpp
//   classes    n_image × n_rotation       int     0 ... n_class - 1
//   rotations  n_image × n_rotation × 9   double  A
//   shifts     n_image × n_shift × 2      double  px, (x, y)
//   places     n_image                    int64   of the images compared, among those given
//   images     any × 2 × n_pixel          float   CTF·X/σ²: real parts, then imaginary parts
//   weights    any × n_pixel              float   CTF²/σ²
//   kx, ky     n_pixel                    int     Fourier index, |kx|, |ky| < 4096 (exact phases)
//   scores     n_image × n_rotation × n_shift  float
//
// Block by block of samples, a few slices of an image are read and multiplied with its shifted copies: float products,
// summed in double from block to block. No slice is ever stored as a whole; neighbouring orientations read the same
// part of the volume one after the other. Parallel over images (× groups of orientations where images are few).
// Every score is summed in an order of its own, whatever the other arguments are.
#pragma once

#include <cstdint>

#include "pycryo/projector.hpp"

namespace pycryo {

struct CompareLocal {
  const HalfVolume* volumes;
  const std::int32_t* classes;
  const double* rotations;
  const double* shifts;
  const std::int64_t* places;
  const float* images;
  const float* weights;
  std::int64_t n_image, n_rotation, n_shift;
  const std::int32_t* kx;
  const std::int32_t* ky;
  std::int64_t n_pixel;
  double box, step;
};

void compare_local(const CompareLocal& in, float* scores, int threads);

constexpr int kSliceGroup = 12;  // slices that share one pass over the shifted images

// Turns per Fourier px along one axis, shift/box = high + low; `high` has 12 significant bits.
struct PhaseStep {
  float high, low;
};

}  // namespace pycryo

// One block of `count` samples, a multiple of 16; a row of slices or images is count real parts, then count imaginary
// parts. out[t] = image · exp(+2πi (kx·steps[2t] + ky·steps[2t+1])); where kx, ky are NaN the image must be 0.
PYCRYO_KERNEL(void shift_block(const float* image, const float* kx, const float* ky, int count, const PhaseStep* steps,
                               std::int64_t n_shift, float* out) noexcept)

// cross[4 (r n_shift + t) ...] += partial sums of slice r with shifted image t, power[r] += Σ weights |slice r|².
PYCRYO_KERNEL(void add_local_scores(const float* slices, int n_slice, const float* images, std::int64_t n_shift,
                                    const float* weights, int count, double* cross, double* power) noexcept)
