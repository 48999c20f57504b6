// runs: lists of Fourier samples as runs along kx, so that what belongs to a row is computed once for the row.
#pragma once

#include <cstdint>
#include <vector>

namespace pycryo {

// Samples first ... first + n - 1 of a list have kx = x ... x + n - 1 and ky = y.
struct Run {
  std::int64_t first;
  std::int32_t x, y, n;
};

struct Runs {
  std::vector<Run> runs;
  std::int32_t x_first, x_last, y_first, y_last;  // the least and the greatest kx and ky

  // The runs of the samples of part `part` of `n_part` that are about as large, as [begin, end).
  struct Part {
    const Run *begin, *end;
  };
  Part part(std::int64_t part, std::int64_t n_part) const;
};

Runs find_runs(const std::int32_t* kx, const std::int32_t* ky, std::int64_t n_pixel);

}  // namespace pycryo
