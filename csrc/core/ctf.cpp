#include "pycryo/ctf.hpp"

#include <algorithm>

namespace pycryo {

void ctf(const CtfCoefficients* coefficients, std::int64_t n_image, const std::int32_t* kx, const std::int32_t* ky,
         std::int64_t n_pixel, const CtfOffsets& offsets, float* out, int threads) {
  const auto ctf_samples = PYCRYO_SELECT(ctf_samples);
  constexpr std::int64_t chunk = 4096;  // samples; a multiple of every vector width
  const std::int64_t n_chunk = (n_pixel + chunk - 1) / chunk;
#pragma omp parallel for num_threads(threads) schedule(static)
  for (std::int64_t work = 0; work < n_image * n_chunk; ++work) {
    const std::int64_t image = work / n_chunk, start = work % n_chunk * chunk;
    const std::int64_t which = offsets.which[image];
    const double* offset = which < 0 ? nullptr : offsets.offset + which * n_pixel + start;
    ctf_samples(coefficients[image], kx + start, ky + start, offset, std::min(chunk, n_pixel - start),
                out + image * n_pixel + start);
  }
}

}  // namespace pycryo
