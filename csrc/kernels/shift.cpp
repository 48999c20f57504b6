#include "pycryo/shift.hpp"

#include "lanes.hpp"

namespace pycryo::PYCRYO_ISA {

// Powers of the first: each pass makes as many more as there are, from these and their power.
void shift_ramp(double cosine, double sine, std::int32_t k_max, double* __restrict scratch,
                float* __restrict ramp) noexcept {
  const std::int32_t n = k_max + 1;
  double* __restrict c = scratch, * __restrict s = scratch + n;
  c[0] = 1;
  s[0] = 0;
  for (std::int32_t have = 1; have < n; have *= 2) {
    const std::int32_t more = have < n - have ? have : n - have;
#pragma omp simd
    for (std::int32_t k = 0; k < more; ++k) {
      c[have + k] = c[k] * cosine - s[k] * sine;
      s[have + k] = c[k] * sine + s[k] * cosine;
    }
    const double square = cosine * cosine - sine * sine;
    sine = 2 * cosine * sine;
    cosine = square;
  }
  float* of_sine = ramp + 2 * k_max + 1;
#pragma omp simd
  for (std::int32_t k = 0; k < n; ++k) {
    ramp[k_max + k] = static_cast<float>(c[k]);
    of_sine[k_max + k] = static_cast<float>(s[k]);
  }
#pragma omp simd
  for (std::int32_t k = 0; k < k_max; ++k) {
    ramp[k] = static_cast<float>(c[k_max - k]);
    of_sine[k] = static_cast<float>(-s[k_max - k]);
  }
}

void shift_rows(const float* image, const Run* begin, const Run* end, std::int64_t n_pixel, std::int32_t k_max,
                const float* ramp_x, const float* ramp_y, float* out) noexcept {
  const std::int64_t sine = 2 * std::int64_t{k_max} + 1;
  for (const Run* run = begin; run != end; ++run) {
    const float cy = ramp_y[run->y + k_max], sy = ramp_y[run->y + k_max + sine];
    const float *cx = ramp_x + run->x + k_max, *sx = cx + sine;
    const float *re = image + run->first, *im = re + n_pixel;
    float *out_re = out + run->first, *out_im = out_re + n_pixel;
    const auto turn = [&](std::int64_t i, Floats& a, Floats& b) {
      const Floats xc = load(cx + i), xs = load(sx + i), c = xc * cy - xs * sy, s = xc * sy + xs * cy, re = a;
      a = re * c - b * s;
      b = re * s + b * c;
    };
    const std::int64_t n = run->n, room = n_pixel - run->first;
    std::int64_t i = 0;
    // What is written beyond the run is the next one's, which follows.
    for (const std::int64_t end = whole_vectors(n, room); i < end; i += kLanes) {
      Floats a = load(re + i), b = load(im + i);
      turn(i, a, b);
      store(out_re + i, a);
      store(out_im + i, b);
    }
    if (i < n) {
      Floats a = load_some(re + i, room - i), b = load_some(im + i, room - i);
      turn(i, a, b);
      store_some(out_re + i, a, room - i);
      store_some(out_im + i, b, room - i);
    }
  }
}

}  // namespace pycryo::PYCRYO_ISA
