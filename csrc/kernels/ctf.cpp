#include "pycryo/ctf.hpp"

#include <cstring>

#include "trigonometry.hpp"

namespace pycryo::PYCRYO_ISA {
namespace {

// 2^x for |x| ≤ 126: a minimax polynomial on [-½, ½] times a power of two put together from its bits.
inline float exp2(double x) noexcept {
  const double rounded = x + rounder;
  const float f = static_cast<float>(x - (rounded - rounder));
  std::int64_t whole;
  std::memcpy(&whole, &rounded, sizeof whole);
  const std::int32_t bits = (static_cast<std::int32_t>(whole) + 127) << 23;
  float power;
  std::memcpy(&power, &bits, sizeof power);
  return power *
         (1.0f +
          f * (6.931472067e-01f +
               f * (2.402265150e-01f +
                    f * (5.550327216e-02f + f * (9.617994520e-03f + f * (1.340043167e-03f + f * 1.547802063e-04f))))));
}

inline double clamp(double x, double limit) noexcept {
  x = x < -limit ? -limit : x;
  return x > limit ? limit : x;
}

template <bool decaying, bool moved>
inline void evaluate(const CtfCoefficients& c, const std::int32_t* __restrict kx, const std::int32_t* __restrict ky,
                     const double* __restrict offset, std::int64_t n_pixel, float* __restrict out) noexcept {
  const double xx = c.xx, xy = c.xy, yy = c.yy, quartic = c.quartic, constant = c.constant, decay = c.decay;
  const float scale = static_cast<float>(c.scale);
#pragma omp simd
  for (std::int64_t k = 0; k < n_pixel; ++k) {
    const double x = kx[k], y = ky[k], r2 = x * x + y * y;
    double phase = x * (xx * x + xy * y) + yy * (y * y) + quartic * (r2 * r2) + constant;
    if constexpr (moved) phase += offset[k];
    const float value = scale * sine(phase);
    if constexpr (decaying)
      out[k] = value * exp2(clamp(decay * r2, 126));
    else
      out[k] = value;
  }
}

}  // namespace

void ctf_samples(const CtfCoefficients& coefficients, const std::int32_t* kx, const std::int32_t* ky,
                 const double* offset, std::int64_t n_pixel, float* out) noexcept {
  const auto run = coefficients.decay == 0 ? (offset == nullptr ? evaluate<false, false> : evaluate<false, true>)
                                           : (offset == nullptr ? evaluate<true, false> : evaluate<true, true>);
  run(coefficients, kx, ky, offset, n_pixel, out);
}

}  // namespace pycryo::PYCRYO_ISA
