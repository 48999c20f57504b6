#include "pycryo/runs.hpp"

#include <algorithm>

namespace pycryo {

namespace {

// The end of the run that sample `first` is in, at most `n`.
std::int64_t end_of_run(const std::int32_t* kx, const std::int32_t* ky, std::int64_t first, std::int64_t n) {
  constexpr std::int64_t block = 16;
  const std::int32_t y = ky[first];
  std::int64_t end = first + 1;
  for (; end + block <= n; end += block) {
    std::int32_t other = 0;
#pragma omp simd reduction(| : other)
    for (std::int64_t k = end; k < end + block; ++k) other |= (kx[k] - 1 - kx[k - 1]) | (ky[k] - y);
    if (other) break;
  }
  while (end < n && kx[end] - 1 == kx[end - 1] && ky[end] == y) ++end;
  return end;
}

}  // namespace

Runs find_runs(const std::int32_t* kx, const std::int32_t* ky, std::int64_t n_pixel) {
  Runs found{{}, 0, -1, 0, -1};
  if (n_pixel == 0) return found;
  found.x_first = found.x_last = kx[0];
  found.y_first = found.y_last = ky[0];
  for (std::int64_t first = 0, end = 0; first < n_pixel; first = end) {
    const std::int32_t x = kx[first], y = ky[first];
    end = end_of_run(kx, ky, first, n_pixel);
    found.runs.push_back({first, x, y, static_cast<std::int32_t>(end - first)});
    found.x_first = std::min(found.x_first, x);
    found.x_last = std::max(found.x_last, kx[end - 1]);
    found.y_first = std::min(found.y_first, y);
    found.y_last = std::max(found.y_last, y);
  }
  return found;
}

Runs::Part Runs::part(std::int64_t part, std::int64_t n_part) const {
  if (runs.empty()) return {nullptr, nullptr};
  const std::int64_t n_pixel = runs.back().first + runs.back().n;
  const auto at = [&](std::int64_t cut) {
    return std::lower_bound(runs.begin(), runs.end(), cut * n_pixel / n_part,
                            [](const Run& run, std::int64_t place) { return run.first < place; }) -
           runs.begin();
  };
  return {runs.data() + at(part), runs.data() + at(part + 1)};
}

}  // namespace pycryo
