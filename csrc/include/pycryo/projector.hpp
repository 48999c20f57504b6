// projector: slices of a half volume by trilinear interpolation.
//
//   out[i,:,k] = volume( step · A_iᵀ (kx[k], ky[k], curvature[i]·|k'|²) ),   step = padding · scale
//   k' = (kx, ky) read as A says, |k'|² = |Aᵀ(kx, ky, 0)|²; the third axis is normal to the other two
//
//   volume     D × D × H × 2    float   (re, im) at index [z + r, y + r, x], D = 2r + 1, H = r + 1, r = radius;
//                                       where qx < 0 the conjugate at -q is read
//   rotations  n_slice × 3 × 3  double  A
//   curvature  n_slice          double  per Fourier px of the images; null: 0, central slices
//   kx, ky     n_pixel          int     Fourier index, |kx|, |ky| < 2^24
//   out        n_slice × 2 × n_pixel    float; real parts, then imaginary parts; 0 where |q| ≥ r - ½
//
// Parallel over slice × chunk of samples. Every sample is computed alone: the result depends on nothing else.
#pragma once

#include <cstdint>
#include <vector>

#include "pycryo/isa.hpp"

namespace pycryo {

struct HalfVolume {
  const float* data;
  std::int32_t radius;
};

// Volume position of a unit step in kx (first row of A) and in ky (second row), times padding · scale. Where the slice
// is curved, q += |q|²·bend.
struct SlicePlane {
  float x[3], y[3];
  float bend[3];
  bool is_curved;
};

struct ProjectSlices {
  HalfVolume volume;
  const double* rotations;
  const double* curvature;
  std::int64_t n_slice;
  const std::int32_t* kx;
  const std::int32_t* ky;
  std::int64_t n_pixel;
  double step;
};

void project_slices(const ProjectSlices& in, float* out, int threads);

constexpr int kSampleChunk = 128;  // samples; the scratch of one chunk, 6 kB, stays in the L1 cache beside the rest

SlicePlane slice_plane(const double* rotation, double step, double curvature = 0) noexcept;

// Fourier indices as floats, filled up to a multiple of 16 with NaN, which is outside of every volume.
std::vector<float> padded_index(const std::int32_t* index, std::int64_t n_pixel);

}  // namespace pycryo

// Samples 0 ... count-1 of one slice; count is a multiple of 16, at most kSampleChunk.
PYCRYO_KERNEL(void sample_slice(const HalfVolume& volume, const SlicePlane& plane, const float* kx, const float* ky,
                                int count, float* re, float* im) noexcept)
