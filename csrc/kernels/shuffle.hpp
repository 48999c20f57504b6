// Elements of two vectors in another order, for GCC and Clang.
#pragma once

#include <cstdint>

namespace pycryo::PYCRYO_ISA {
namespace {

// Elements `places` of four of a (0 to 3) and four of b (4 to 7).
template <int... places, class Quad>
inline Quad shuffle(Quad a, Quad b) noexcept {
#ifdef __clang__
  return __builtin_shufflevector(a, b, places...);
#else
  typedef std::int32_t Places __attribute__((vector_size(16)));
  return __builtin_shuffle(a, b, Places{places...});
#endif
}

}  // namespace
}  // namespace pycryo::PYCRYO_ISA
