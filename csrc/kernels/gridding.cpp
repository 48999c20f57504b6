#include "pycryo/gridding.hpp"

namespace pycryo::PYCRYO_ISA {
namespace {

constexpr std::int64_t chunk = 128;  // voxels whose shells wait in the L1 cache

// Adding it to a double of less than 2^51 rounds to an integer.
constexpr double rounder = 0x1.8p52;

inline std::int32_t shell_of(double square, double per_px) noexcept {
  return static_cast<std::int32_t>((__builtin_sqrt(square) * per_px + rounder) - rounder);
}

inline double square_of(std::int32_t x) noexcept { return static_cast<double>(x) * x; }

template <class Real>
inline void place(const double* __restrict re, const double* __restrict im, std::int64_t n,
                  Real* __restrict samples) noexcept {
  if (im == nullptr) {
#pragma omp simd
    for (std::int64_t x = 0; x < n; ++x) {
      samples[2 * x] = static_cast<Real>(re[x]);
      samples[2 * x + 1] = 0;
    }
  } else {
#pragma omp simd
    for (std::int64_t x = 0; x < n; ++x) {
      samples[2 * x] = static_cast<Real>(re[x]);
      samples[2 * x + 1] = static_cast<Real>(im[x]);
    }
  }
}

template <class Real>
inline double deviation(const Real* samples, std::int64_t n) noexcept {
  double worst = 0;
#pragma omp simd reduction(max : worst)
  for (std::int64_t x = 0; x < n; ++x) {
    const double off = __builtin_fabs(static_cast<double>(samples[2 * x]) - 1);
    worst = off > worst ? off : worst;
  }
  return worst;
}

template <class Real>
inline void divide(const Real* __restrict samples, std::int64_t n, double* __restrict w) noexcept {
#pragma omp simd
  for (std::int64_t x = 0; x < n; ++x) {
    const double c = samples[2 * x];
    w[x] /= c > 1e-6 ? c : 1e-6;
  }
}

template <class Real>
inline void scale(Real* __restrict row, std::int64_t n, Real factor, const Real* __restrict along_x) noexcept {
#pragma omp simd
  for (std::int64_t x = 0; x < n; ++x) row[x] *= factor * along_x[x];
}

}  // namespace

void gridding_sum_row(const double* weight, std::int64_t n, double distance2, double per_px, double* sums) noexcept {
  std::int32_t shell[chunk];
  for (std::int64_t start = 0; start < n; start += chunk) {
    const std::int64_t size = chunk < n - start ? chunk : n - start;
    const auto first = static_cast<std::int32_t>(start);
#pragma omp simd
    for (std::int32_t k = 0; k < size; ++k) shell[k] = shell_of(distance2 + square_of(first + k), per_px);
    // Neighbours mostly share a shell: four sets of sums keep their additions from waiting for each other.
    for (std::int64_t k = 0; k < size; ++k) {
      double* sum = sums + 2 * (4 * shell[k] + k % 4);
      sum[0] += weight[start + k];
      sum[1] += 1;
    }
  }
}

void gridding_start_row(const double* __restrict weight, const double* __restrict add, std::int64_t n, double distance2,
                        double per_px, double* __restrict w) noexcept {
#pragma omp simd
  for (std::int32_t x = 0; x < static_cast<std::int32_t>(n); ++x)
    w[x] = 1 / (weight[x] + add[shell_of(distance2 + square_of(x), per_px)]);
}

void gridding_product_row(const double* __restrict weight, const double* __restrict add, const double* __restrict w,
                          std::int64_t n, double distance2, double per_px, double* __restrict product) noexcept {
#pragma omp simd
  for (std::int32_t x = 0; x < static_cast<std::int32_t>(n); ++x)
    product[x] = w[x] * (weight[x] + add[shell_of(distance2 + square_of(x), per_px)]);
}

void gridding_place_float(const double* re, const double* im, std::int64_t n, float* samples) noexcept {
  place(re, im, n, samples);
}

void gridding_place_double(const double* re, const double* im, std::int64_t n, double* samples) noexcept {
  place(re, im, n, samples);
}

double gridding_deviation_float(const float* samples, std::int64_t n) noexcept { return deviation(samples, n); }

double gridding_deviation_double(const double* samples, std::int64_t n) noexcept { return deviation(samples, n); }

void gridding_divide_float(const float* samples, std::int64_t n, double* w) noexcept { divide(samples, n, w); }

void gridding_divide_double(const double* samples, std::int64_t n, double* w) noexcept { divide(samples, n, w); }

void gridding_scale_float(float* row, std::int64_t n, float factor, const float* along_x) noexcept {
  scale(row, n, factor, along_x);
}

void gridding_scale_double(double* row, std::int64_t n, double factor, const double* along_x) noexcept {
  scale(row, n, factor, along_x);
}

}  // namespace pycryo::PYCRYO_ISA
