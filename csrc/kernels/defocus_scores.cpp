#include "pycryo/defocus_scores.hpp"

#include "shell_sums.hpp"

namespace pycryo::PYCRYO_ISA {

void defocus_sums_of_pose(const float* __restrict image, const float* __restrict slice, const float* __restrict weights,
                          const float* __restrict sine, const float* __restrict cosine, const std::int32_t* bin,
                          std::int64_t n_pixel, ShellSums* sums) noexcept {
  alignas(64) double products[4 * chunk];
  for (std::int64_t start = 0; start < n_pixel; start += chunk) {
    const std::int64_t size = smaller(chunk, n_pixel - start);
#pragma omp simd
    for (std::int64_t j = 0; j < size; ++j) {
      const std::int64_t k = start + j;
      const double re = slice[k], im = slice[n_pixel + k], s = sine[k], c = cosine[k];
      const double cross = image[k] * re + image[n_pixel + k] * im, power = weights[k] * (re * re + im * im);
      products[4 * j] = cross * s;
      products[4 * j + 1] = cross * c;
      products[4 * j + 2] = power * (s * s - c * c);
      products[4 * j + 3] = 2 * power * s * c;
    }
    add<4>(products, bin + start, size, sums);
  }
}

void add_defocus_scores(const double* __restrict sums, const double* __restrict wave, std::int64_t n_delta,
                        double* __restrict scores) noexcept {
  const double a = sums[0], b = sums[1], c = sums[2], d = sums[3];
#pragma omp simd
  for (std::int64_t i = 0; i < n_delta; ++i)
    scores[i] += (a * wave[i] + b * wave[n_delta + i]) + (c * wave[2 * n_delta + i] + d * wave[3 * n_delta + i]);
}

}  // namespace pycryo::PYCRYO_ISA
