#include "pycryo/ctf.hpp"

#include <cstring>

namespace pycryo::PYCRYO_ISA {
namespace {

// Adding it to a double of less than 2^51 rounds to an integer, which is then in the low bits.
constexpr double rounder = 0x1.8p52;

// sin(phase): reduced by multiples of π in double, then a minimax polynomial on [-π/2, π/2].
inline float sine(double phase) noexcept {
  const double rounded = phase * 0.31830988618379067154 + rounder;
  const double rest = phase - (rounded - rounder) * 3.14159265358979323846;
  std::uint64_t turns, bits;
  std::memcpy(&turns, &rounded, sizeof turns);
  std::memcpy(&bits, &rest, sizeof bits);
  bits ^= turns << 63;  // odd multiples of π change the sign
  double reduced;
  std::memcpy(&reduced, &bits, sizeof reduced);
  const float r = static_cast<float>(reduced), u = r * r;
  return r * (9.999999766e-01f +
              u * (-1.666664763e-01f + u * (8.332899695e-03f + u * (-1.980088984e-04f + u * 2.590472430e-06f))));
}

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

template <bool decaying>
inline void evaluate(const CtfCoefficients& c, const std::int32_t* __restrict kx, const std::int32_t* __restrict ky,
                     std::int64_t n_pixel, float* __restrict out) noexcept {
  const double xx = c.xx, xy = c.xy, yy = c.yy, quartic = c.quartic, constant = c.constant, decay = c.decay;
  const float scale = static_cast<float>(c.scale);
#pragma omp simd
  for (std::int64_t k = 0; k < n_pixel; ++k) {
    const double x = kx[k], y = ky[k], r2 = x * x + y * y;
    const float value = scale * sine(x * (xx * x + xy * y) + yy * (y * y) + quartic * (r2 * r2) + constant);
    if constexpr (decaying)
      out[k] = value * exp2(clamp(decay * r2, 126));
    else
      out[k] = value;
  }
}

}  // namespace

void ctf_samples(const CtfCoefficients& coefficients, const std::int32_t* kx, const std::int32_t* ky,
                 std::int64_t n_pixel, float* out) noexcept {
  if (coefficients.decay == 0)
    evaluate<false>(coefficients, kx, ky, n_pixel, out);
  else
    evaluate<true>(coefficients, kx, ky, n_pixel, out);
}

}  // namespace pycryo::PYCRYO_ISA
