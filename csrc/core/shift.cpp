#include "pycryo/shift.hpp"

#include <cmath>
#include <vector>

namespace pycryo {
namespace {

void fill_ramp(double shift, double box, std::int32_t k_max, float* ramp) {
  const double step = 2 * M_PI * shift / box;
  for (std::int32_t k = -k_max; k <= k_max; ++k) {
    ramp[k + k_max] = static_cast<float>(std::cos(step * k));
    ramp[k + k_max + 2 * k_max + 1] = static_cast<float>(std::sin(step * k));
  }
}

}  // namespace

void shift(const ShiftImages& in, float* out, int threads) {
  const auto shift_one = PYCRYO_SELECT(shift_one);
  const std::int64_t n_work = in.n_image * in.n_shift;
#pragma omp parallel num_threads(threads)
  {
    std::vector<float> ramp_x(4 * in.k_max + 2), ramp_y(4 * in.k_max + 2);
#pragma omp for schedule(static)
    for (std::int64_t work = 0; work < n_work; ++work) {
      const float* image = in.images + work / in.n_shift * 2 * in.n_pixel;
      float* moved = out + work * 2 * in.n_pixel;
      fill_ramp(in.shifts[2 * work], in.box, in.k_max, ramp_x.data());
      fill_ramp(in.shifts[2 * work + 1], in.box, in.k_max, ramp_y.data());
      shift_one(image, image + in.n_pixel, in.kx, in.ky, in.n_pixel, in.k_max, ramp_x.data(), ramp_y.data(), moved,
                moved + in.n_pixel);
    }
  }
}

}  // namespace pycryo
