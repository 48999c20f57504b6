#include "pycryo/mates.hpp"

namespace pycryo::PYCRYO_ISA {

void mates_add_row(const double* __restrict from, double sign, std::int64_t n, double* __restrict to) noexcept {
  for (std::int64_t i = 0; i < n; ++i) to[i] += sign * from[i];
}

void mates_add_column(const double* __restrict from, const std::int64_t* start, std::int64_t step, double sign,
                      std::int64_t n, double* __restrict to) noexcept {
  for (std::int64_t i = 0; i < n; ++i) to[i] += sign * from[start[step * i]];
}

}  // namespace pycryo::PYCRYO_ISA
