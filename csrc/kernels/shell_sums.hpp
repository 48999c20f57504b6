// Products of neighbouring samples, added to the sums of their shells.
#pragma once

#include "pycryo/shells.hpp"

namespace pycryo::PYCRYO_ISA {
namespace {

constexpr std::int64_t chunk = 128;  // samples; products wait in the L1 cache until they are added

typedef double Sums __attribute__((vector_size(32)));

// Neighbours mostly share a shell: some sets of sums keep their additions from waiting for each other.
template <int sets>
inline void add(const double* products, const std::int32_t* shell, std::int64_t n, ShellSums* sums) noexcept {
  for (std::int64_t k = 0; k < n; ++k)
    *reinterpret_cast<Sums*>(sums[shell[k]].set[k % sets]) += *reinterpret_cast<const Sums*>(products + 4 * k);
}

inline std::int64_t smaller(std::int64_t a, std::int64_t b) noexcept { return a < b ? a : b; }

}  // namespace
}  // namespace pycryo::PYCRYO_ISA
