#include "pycryo/compare_local.hpp"

#include "lanes.hpp"

namespace pycryo::PYCRYO_ISA {
namespace {

#if defined(PYCRYO_ISA_avx512)
constexpr int kTileSlices = 6;  // 6 × 4 sums, 6 slices and one image: 31 of 32 registers
#elif defined(__aarch64__)
constexpr int kTileSlices = 4;  // 4 × 4 sums: as many as four pipelines of four cycles have under way
#else
constexpr int kTileSlices = 3;  // 3 × 4 sums, 3 slices and one image: 16 of 16 registers
#endif
constexpr int kTileShifts = 4;

inline void add4(double* to, Floats4 part) {
  typedef Doubles4 Loose __attribute__((aligned(8), may_alias));
  Doubles4 wide;
  widen(part, wide);
  *reinterpret_cast<Loose*>(to) += wide;
}

// Products of Slices × Shifts rows of `length` floats, added to four partial sums each.
template <int Slices, int Shifts>
inline void add_tile(const float* slices, const float* images, int length, double* cross, std::int64_t n_shift) {
  Floats sum[Slices][Shifts] = {};
  for (int j = 0; j < length; j += kLanes) {
    Floats slice[Slices];
#pragma GCC unroll 8
    for (int r = 0; r < Slices; ++r) slice[r] = load(slices + std::int64_t{r} * length + j);
#pragma GCC unroll 8
    for (int t = 0; t < Shifts; ++t) {
      const Floats image = load(images + std::int64_t{t} * length + j);
#pragma GCC unroll 8
      for (int r = 0; r < Slices; ++r) sum[r][t] += slice[r] * image;
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < Slices; ++r)
#pragma GCC unroll 8
    for (int t = 0; t < Shifts; ++t) add4(cross + 4 * (r * n_shift + t), fold(sum[r][t]));
}

template <int Slices>
inline void add_tiles(const float* slices, const float* images, int length, double* cross, std::int64_t n_shift) {
  std::int64_t t = 0;
  for (; t + kTileShifts <= n_shift; t += kTileShifts)
    add_tile<Slices, kTileShifts>(slices, images + t * length, length, cross + 4 * t, n_shift);
  if (n_shift - t == 3) add_tile<Slices, 3>(slices, images + t * length, length, cross + 4 * t, n_shift);
  if (n_shift - t == 2) add_tile<Slices, 2>(slices, images + t * length, length, cross + 4 * t, n_shift);
  if (n_shift - t == 1) add_tile<Slices, 1>(slices, images + t * length, length, cross + 4 * t, n_shift);
}

// add_tiles<n> for n ≤ Slices.
template <int Slices>
inline void add_some_tiles(int n, const float* slices, const float* images, int length, double* cross,
                           std::int64_t n_shift) {
  if (n == Slices)
    add_tiles<Slices>(slices, images, length, cross, n_shift);
  else if constexpr (Slices > 1)
    add_some_tiles<Slices - 1>(n, slices, images, length, cross, n_shift);
}

// Distance of x·(step.high + step.low) to the nearest integer, |x| < 4096. The product with `high` is exact.
inline Floats turns(Floats x, PhaseStep step) {
  const Floats product = x * step.high;
  return (product - nearest(product)) + x * step.low;
}

// cos and sin of 2π f, |f| ≤ 1: Taylor series on [-π/4, π/4] (error 3e-8), then the quadrant.
inline void cos_sin(Floats f, Floats& cosine, Floats& sine) {
  const Floats quarter = nearest(4 * f);
  const Floats x = (f - 0.25f * quarter) * 6.28318530718f, x2 = x * x;
  const Floats s = x + x * x2 * (-1 / 6.0f + x2 * (1 / 120.0f + x2 * (-1 / 5040.0f + x2 * (1 / 362880.0f))));
  const Floats c = 1 + x2 * (-0.5f + x2 * (1 / 24.0f + x2 * (-1 / 720.0f + x2 * (1 / 40320.0f))));
  const Ints quadrant = __builtin_convertvector(quarter, Ints);
  const Ints odd = -(quadrant & 1);
  const Ints cosine_sign = ((quadrant + 1) & 2) << 30, sine_sign = (quadrant & 2) << 30;
  cosine = (Floats)((((Ints)s & odd) | ((Ints)c & ~odd)) ^ cosine_sign);
  sine = (Floats)((((Ints)c & odd) | ((Ints)s & ~odd)) ^ sine_sign);
}

inline Floats zero_for_nan(Floats x) { return (Floats)((Ints)x & (x == x)); }

inline double power_of(const float* slice, const float* weights, int count) {
  Floats sum = {};
  for (int j = 0; j < count; j += kLanes) {
    const Floats re = load(slice + j), im = load(slice + count + j);
    sum += load(weights + j) * (re * re + im * im);
  }
  Doubles4 four;
  widen(fold(sum), four);
  return (four[0] + four[1]) + (four[2] + four[3]);
}

}  // namespace

void shift_block(const float* image, const float* kx, const float* ky, int count, const PhaseStep* steps,
                 std::int64_t n_shift, float* out) noexcept {
  for (std::int64_t t = 0; t < n_shift; ++t, out += 2 * count)
    for (int j = 0; j < count; j += kLanes) {
      const Floats x = zero_for_nan(load(kx + j)), y = zero_for_nan(load(ky + j));
      Floats cosine, sine;
      cos_sin(turns(x, steps[2 * t]) + turns(y, steps[2 * t + 1]), cosine, sine);
      const Floats re = load(image + j), im = load(image + count + j);
      store(out + j, re * cosine - im * sine);
      store(out + count + j, re * sine + im * cosine);
    }
}

void add_local_scores(const float* slices, int n_slice, const float* images, std::int64_t n_shift, const float* weights,
                      int count, double* cross, double* power) noexcept {
  const int length = 2 * count;
  for (int r = 0; r < n_slice; r += kTileSlices) {
    const int n = n_slice - r < kTileSlices ? n_slice - r : kTileSlices;
    add_some_tiles<kTileSlices>(n, slices + std::int64_t{r} * length, images, length, cross + 4 * r * n_shift, n_shift);
  }
  for (int r = 0; r < n_slice; ++r) power[r] += power_of(slices + std::int64_t{r} * length, weights, count);
}

}  // namespace pycryo::PYCRYO_ISA
