#include "pycryo/shells.hpp"

#include "lanes.hpp"
#include "shell_sums.hpp"
#include "shuffle.hpp"

namespace pycryo::PYCRYO_ISA {
namespace {

// Products of n samples as (a·b, a², b², 0); part[k·stride] is the real or imaginary part of sample k.
template <int stride, class Real>
inline void multiply(const Real* __restrict a_re, const Real* __restrict a_im, const Real* __restrict b_re,
                     const Real* __restrict b_im, std::int64_t n, double* __restrict products) noexcept {
#pragma omp simd
  for (std::int64_t k = 0; k < n; ++k) {
    const double ar = a_re[k * stride], ai = a_im[k * stride], br = b_re[k * stride], bi = b_im[k * stride];
    products[4 * k] = ar * br + ai * bi;
    products[4 * k + 1] = ar * ar + ai * ai;
    products[4 * k + 2] = br * br + bi * bi;
    products[4 * k + 3] = 0;
  }
}

// Four samples of four images: the images of each.
struct FourSamples {
  Floats4 of[4];
};

inline FourSamples samples_of(const float* first, std::int64_t stride) noexcept {
  const Floats4 a = load4(first), b = load4(first + stride), c = load4(first + 2 * stride),
                d = load4(first + 3 * stride);
  const Floats4 ab_low = shuffle<0, 4, 1, 5>(a, b), ab_high = shuffle<2, 6, 3, 7>(a, b);
  const Floats4 cd_low = shuffle<0, 4, 1, 5>(c, d), cd_high = shuffle<2, 6, 3, 7>(c, d);
  return {{shuffle<0, 1, 4, 5>(ab_low, cd_low), shuffle<2, 3, 6, 7>(ab_low, cd_low),
           shuffle<0, 1, 4, 5>(ab_high, cd_high), shuffle<2, 3, 6, 7>(ab_high, cd_high)}};
}

// Adds the products of one sample of four images.
inline void add_products(Floats4 a_re, Floats4 a_im, Floats4 b_re, Floats4 b_im, double (*sums)[4]) noexcept {
  Doubles4 ar, ai, br, bi;
  widen(a_re, ar);
  widen(a_im, ai);
  widen(b_re, br);
  widen(b_im, bi);
  *reinterpret_cast<Doubles4*>(sums[0]) += ar * br + ai * bi;
  *reinterpret_cast<Doubles4*>(sums[1]) += ar * ar + ai * ai;
  *reinterpret_cast<Doubles4*>(sums[2]) += br * br + bi * bi;
}

// The number of kx = 0 ... last with round(|k|) < n_shell, that is |k|² ≤ n_shell² - n_shell.
inline std::int64_t count_inside(std::int64_t last, std::int64_t distance2, std::int64_t n_shell) noexcept {
  const std::int64_t room = n_shell * n_shell - n_shell - distance2;
  if (room < 0) return 0;
  std::int64_t x = static_cast<std::int64_t>(__builtin_sqrt(static_cast<double>(room)));
  while (x * x > room) --x;
  while ((x + 1) * (x + 1) <= room) ++x;
  return smaller(x, last) + 1;
}

inline void halve(double* products) noexcept { *reinterpret_cast<Sums*>(products) *= 0.5; }

template <class Real>
inline void add_row(const Real* a, const Real* b, std::int64_t box, std::int64_t distance2, std::int64_t n_shell,
                    ShellSums* sums) noexcept {
  alignas(64) double products[4 * chunk];
  std::int32_t shell[chunk];
  const std::int64_t n = count_inside(box / 2, distance2, n_shell);
  for (std::int64_t start = 0; start < n; start += chunk) {
    const std::int64_t size = smaller(chunk, n - start);
    multiply<2>(a + 2 * start, a + 2 * start + 1, b + 2 * start, b + 2 * start + 1, size, products);
    if (start == 0) halve(products);
    if (box % 2 == 0 && start <= box / 2 && box / 2 < start + size) halve(products + 4 * (box / 2 - start));
    const double first = static_cast<double>(start), square = static_cast<double>(distance2);
#pragma omp simd
    for (std::int32_t k = 0; k < static_cast<std::int32_t>(size); ++k) {
      const double x = first + k;
      shell[k] = static_cast<std::int32_t>(__builtin_sqrt(square + x * x) + 0.5);
    }
    add<4>(products, shell, size, sums);
  }
}

}  // namespace

void shells_of_four_images(const float* a, const float* b, const std::int32_t* shell, std::int64_t n_pixel,
                           FourShellSums* sums) noexcept {
  std::int64_t k = 0;
  for (; k + 4 <= n_pixel; k += 4) {
    const FourSamples ar = samples_of(a + k, 2 * n_pixel), ai = samples_of(a + n_pixel + k, 2 * n_pixel);
    const FourSamples br = samples_of(b + k, 2 * n_pixel), bi = samples_of(b + n_pixel + k, 2 * n_pixel);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) add_products(ar.of[i], ai.of[i], br.of[i], bi.of[i], sums[shell[k + i]].set[i % 2]);
  }
  for (; k < n_pixel; ++k) {
    const auto of_images = [=](const float* from) {
      return Floats4{from[k], from[k + 2 * n_pixel], from[k + 4 * n_pixel], from[k + 6 * n_pixel]};
    };
    add_products(of_images(a), of_images(a + n_pixel), of_images(b), of_images(b + n_pixel), sums[shell[k]].set[k % 2]);
  }
}

void shells_of_image(const float* a, const float* b, const std::int32_t* shell, std::int64_t n_pixel,
                     ShellSums* sums) noexcept {
  alignas(64) double products[4 * chunk];
  for (std::int64_t start = 0; start < n_pixel; start += chunk) {
    const std::int64_t size = smaller(chunk, n_pixel - start);
    multiply<1>(a + start, a + n_pixel + start, b + start, b + n_pixel + start, size, products);
    add<2>(products, shell + start, size, sums);
  }
}

void shells_of_float_row(const float* a, const float* b, std::int64_t box, std::int64_t distance2, std::int64_t n_shell,
                         ShellSums* sums) noexcept {
  add_row(a, b, box, distance2, n_shell, sums);
}

void shells_of_double_row(const double* a, const double* b, std::int64_t box, std::int64_t distance2,
                          std::int64_t n_shell, ShellSums* sums) noexcept {
  add_row(a, b, box, distance2, n_shell, sums);
}

}  // namespace pycryo::PYCRYO_ISA
