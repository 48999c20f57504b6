// Sine and cosine in single precision of phases in double, written so that loops over them vectorise.
#pragma once

#include <cstdint>
#include <cstring>

namespace pycryo::PYCRYO_ISA {
namespace {

// Adding it to a double of less than 2^51 rounds to an integer, which is then in the low bits.
constexpr double rounder = 0x1.8p52;

struct SineCosine {
  float sine, cosine;
};

inline float flip_sign(float value, std::uint64_t odd) noexcept {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  bits ^= static_cast<std::uint32_t>(odd << 31);
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// Minimax polynomials for |r| ≤ π/2.
inline float sine_of(float r) noexcept {
  const float u = r * r;
  return r * (9.999999766e-01f +
              u * (-1.666664763e-01f + u * (8.332899695e-03f + u * (-1.980088984e-04f + u * 2.590472430e-06f))));
}

inline float cosine_of(float r) noexcept {
  const float u = r * r;
  return 1.0f + u * (-4.999999955e-01f +
                     u * (4.166664073e-02f + u * (-1.388840350e-03f + u * (2.476188580e-05f + u * -2.607709762e-07f))));
}

// sin(phase), reduced by multiples of π, of which odd ones change the sign.
inline float sine(double phase) noexcept {
  const double rounded = phase * 0.31830988618379067154 + rounder;
  const float r = static_cast<float>(phase - (rounded - rounder) * 3.14159265358979323846);
  std::uint64_t half_turns;
  std::memcpy(&half_turns, &rounded, sizeof half_turns);
  return flip_sign(sine_of(r), half_turns);
}

// Of 2π·turns: reduced by half turns, of which odd ones change both signs.
inline SineCosine sine_cosine(double turns) noexcept {
  const double rounded = 2 * turns + rounder;
  const float r = static_cast<float>((turns - 0.5 * (rounded - rounder)) * 6.28318530717958647692);
  std::uint64_t half_turns;
  std::memcpy(&half_turns, &rounded, sizeof half_turns);
  return {flip_sign(sine_of(r), half_turns), flip_sign(cosine_of(r), half_turns)};
}

}  // namespace
}  // namespace pycryo::PYCRYO_ISA
