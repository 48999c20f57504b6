// GCC's `__builtin_shuffle` for Clang, which has none; slow, for the sanitizers only (cmake/PycryoSanitize.cmake).
#pragma once

template <class Vector, class Places>
inline Vector __builtin_shuffle(Vector a, Vector b, Places places) noexcept {
  constexpr int n = sizeof(Places) / sizeof(places[0]);
  Vector out;
  for (int i = 0; i < n; ++i) out[i] = places[i] < n ? a[places[i]] : b[places[i] - n];
  return out;
}
