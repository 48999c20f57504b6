// images: images of their Fourier samples, the origin in the pixel box/2.
//
//   out[i,y,x] = 1/box² · Σ_k F_i(k) exp(2πi (kx·(x - box/2) + ky·(y - box/2)) / box)
//
// over the whole plane: F_i(k) is the sample of image i that is listed, the conjugate of that listed at -k, or 0.
//
//   samples  n_image × 2 × n_pixel    float   real, then imaginary parts; the imaginary part of k = 0 is not used
//   kx, ky   n_pixel                  int     0 ≤ kx < box/2, |ky| < box/2, of kx = 0 only ky ≥ 0; each once
//   box                               int     even, a product of 2, 3 and 5 (image_box_is_quick)
//   out      n_image × box × box      float
//
// Parallel over images. Two neighbouring columns of an image are the real and the imaginary part of one complex column,
// so that a plane of box × box/2 complex numbers is transformed: along y, then along x. As many lines as a vector has
// lanes are transformed together, in the first cache.
#pragma once

#include <cstdint>

#include "pycryo/isa.hpp"
#include "pycryo/runs.hpp"

namespace pycryo {

struct ImageSamples {
  const float* samples;
  std::int64_t n_image;
  const std::int32_t* kx;
  const std::int32_t* ky;
  std::int64_t n_pixel;
  std::int32_t box;
};

bool image_box_is_quick(std::int64_t box);

void images(const ImageSamples& in, float* out, int threads);

// A transform of n points as passes of radix 2, 3, 4 or 5. Twiddles: of pass after pass for n points, m = n / radix:
// cos, sin of 2π p·j / n at [p < m][0 < j < radix]; the next pass is for m points.
struct Passes {
  static constexpr int kMost = 32;
  std::int32_t n, count, radix[kMost];
  const float* twiddles;
};

// Places in floats. Samples are put into rows of `stride` that begin with 16 zeros; a row of `transposed` has `padded`
// places, box and what makes it a multiple of 16. The cosine and the sine of 2π k / box for k < stride.
struct ImagePlan {
  std::int32_t box, stride, padded;
  Passes along_y, along_x;
  const float *cosine, *sine;
};

// Memory of one thread, 64-byte aligned. `plane`: box rows of real, as many of imaginary parts, 0 where no sample is;
// `transposed`: box/2 rows and what makes them a multiple of 16, twice; two buffers of 32 · box.
struct ImageScratch {
  float *plane, *transposed, *buffer[2];
};

}  // namespace pycryo

// One image of n_pixel samples.
PYCRYO_KERNEL(void make_image(const float* samples, std::int64_t n_pixel, const Run* begin, const Run* end,
                              const ImagePlan& plan, const ImageScratch& scratch, float* out) noexcept)
