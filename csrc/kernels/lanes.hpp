// Vectors as wide as the instruction set that this file is compiled for.
#pragma once

#include <cstddef>
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
typedef double Doubles4 __attribute__((vector_size(32)));

inline Floats load(const float* from) {
  typedef Floats Loose __attribute__((aligned(4), may_alias));
  return *reinterpret_cast<const Loose*>(from);
}

inline void store(float* to, Floats value) {
  typedef Floats Loose __attribute__((aligned(4), may_alias));
  *reinterpret_cast<Loose*>(to) = value;
}

// The first n < kLanes of a vector, zeros behind them.
inline Floats load_some(const float* from, std::int64_t n) {
  Floats value = {};
  __builtin_memcpy(&value, from, static_cast<std::size_t>(n) * sizeof(float));
  return value;
}

inline void store_some(float* to, Floats value, std::int64_t n) {
  __builtin_memcpy(to, &value, static_cast<std::size_t>(n) * sizeof(float));
}

// Where the last vector ends of those that begin before n and end at `room`.
inline std::int64_t whole_vectors(std::int64_t n, std::int64_t room) {
  const std::int64_t wanted = (n + kLanes - 1) / kLanes * kLanes, fit = room / kLanes * kLanes;
  return wanted < fit ? wanted : fit;
}

inline Floats4 load4(const float* from) {
  typedef Floats4 Loose __attribute__((aligned(4), may_alias));
  return *reinterpret_cast<const Loose*>(from);
}

// Of __builtin_convertvector GCC makes two conversions and a way through the memory where one instruction does it.
inline void widen(Floats4 v, Doubles4& wide) {
  if constexpr (kLanes == 4)
    wide = __builtin_convertvector(v, Doubles4);
  else
    wide = Doubles4{double{v[0]}, double{v[1]}, double{v[2]}, double{v[3]}};
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
