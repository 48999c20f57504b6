// Vectors as wide as the instruction set that this file is compiled for.
#pragma once

#include <cstdint>

namespace pycryo::PYCRYO_ISA {
namespace {

#if defined(PYCRYO_ISA_avx512)
constexpr int kLanes = 16;
#elif defined(PYCRYO_ISA_avx2)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

typedef float Floats __attribute__((vector_size(4 * kLanes)));
typedef std::int32_t Ints __attribute__((vector_size(4 * kLanes)));
typedef float Floats4 __attribute__((vector_size(16)));

inline Floats load(const float* from) {
  typedef Floats Loose __attribute__((aligned(4), may_alias));
  return *reinterpret_cast<const Loose*>(from);
}

inline void store(float* to, Floats value) {
  typedef Floats Loose __attribute__((aligned(4), may_alias));
  *reinterpret_cast<Loose*>(to) = value;
}

inline Floats4 load4(const float* from) {
  typedef Floats4 Loose __attribute__((aligned(4), may_alias));
  return *reinterpret_cast<const Loose*>(from);
}

// Nearest integer of |v| < 2^22.
inline Floats nearest(Floats v) {
  const float shifter = 12582912;  // 1.5 · 2^23: no bits are left for a fraction
  return (v + shifter) - shifter;
}

// Four partial sums of a vector.
inline Floats4 fold(Floats v) {
  Floats4 part[kLanes / 4];
  __builtin_memcpy(part, &v, sizeof(v));
  for (int n = kLanes / 8; n > 0; n /= 2)
    for (int i = 0; i < n; ++i) part[i] += part[i + n];
  return part[0];
}

}  // namespace
}  // namespace pycryo::PYCRYO_ISA
