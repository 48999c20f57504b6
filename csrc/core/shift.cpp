#include "pycryo/shift.hpp"

#include <cmath>
#include <vector>

namespace pycryo {

void shift(const ShiftImages& in, float* out, int threads) {
  const auto shift_ramp = PYCRYO_SELECT(shift_ramp);
  const auto shift_rows = PYCRYO_SELECT(shift_rows);
  const std::vector<Run> runs = find_runs(in.kx, in.ky, in.n_pixel).runs;
  const std::size_t n_ramp = 4 * static_cast<std::size_t>(in.k_max) + 2;
#pragma omp parallel num_threads(threads)
  {
    std::vector<float> ramp_x(n_ramp + 16), ramp_y(n_ramp);
    std::vector<double> scratch(n_ramp);
    const auto fill = [&](double shift, float* ramp) {
      const double angle = 2 * M_PI * shift / in.box;
      shift_ramp(std::cos(angle), std::sin(angle), in.k_max, scratch.data(), ramp);
    };
#pragma omp for schedule(static) nowait
    for (std::int64_t work = 0; work < in.n_image * in.n_shift; ++work) {
      fill(in.shifts[2 * work], ramp_x.data());
      fill(in.shifts[2 * work + 1], ramp_y.data());
      shift_rows(in.images + work / in.n_shift * 2 * in.n_pixel, runs.data(), runs.data() + runs.size(), in.n_pixel,
                 in.k_max, ramp_x.data(), ramp_y.data(), out + work * 2 * in.n_pixel);
    }
  }
}

}  // namespace pycryo
