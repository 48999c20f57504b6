#include "pycryo/defocus_scores.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

namespace pycryo {
namespace {

// CTF = sine cos φ + cosine sin φ, and CTF² - ½ (sine² + cosine²) = ½ (sine² - cosine²) cos 2φ + sine·cosine sin 2φ:
// what the four sums of a bin are multiplied with, for φ = phase·(first + d·step).
void fill_wave(double phase, double first, double step, std::int64_t n_delta, double* wave) {
  double c = std::cos(phase * first), s = std::sin(phase * first);
  const double turn_c = std::cos(phase * step), turn_s = std::sin(phase * step);
  for (std::int64_t d = 0; d < n_delta; ++d) {
    wave[d] = c;
    wave[n_delta + d] = s;
    wave[2 * n_delta + d] = -0.25 * (c * c - s * s);
    wave[3 * n_delta + d] = -0.5 * s * c;
    const double next = c * turn_c - s * turn_s;
    s = s * turn_c + c * turn_s;
    c = next;
  }
}

}  // namespace

void defocus_sums(const DefocusImages& in, double* sums, int threads) {
  const auto sums_of_pose = PYCRYO_SELECT(defocus_sums_of_pose);
#pragma omp parallel num_threads(threads)
  {
    std::vector<ShellSums> bins(in.n_bin);
#pragma omp for schedule(static) nowait
    for (std::int64_t work = 0; work < in.n_image * in.n_pose; ++work) {
      std::fill(bins.begin(), bins.end(), ShellSums{});
      const std::int64_t pose = work * 2 * in.n_pixel, image = work / in.n_pose * in.n_pixel;
      sums_of_pose(in.images + pose, in.slices + pose, in.weights + image, in.sine + image, in.cosine + image, in.bin,
                   in.n_pixel, bins.data());
      double* out = sums + work * in.n_bin * 4;
      for (const ShellSums& bin : bins)
        for (int j = 0; j < 4; ++j) *out++ = (bin.set[0][j] + bin.set[1][j]) + (bin.set[2][j] + bin.set[3][j]);
    }
  }
}

void defocus_scores(const DefocusGrid& in, double* scores, int threads) {
  const auto add_scores = PYCRYO_SELECT(add_defocus_scores);
  std::fill_n(scores, in.n_image * in.n_pose * in.n_delta, 0.0);
#pragma omp parallel num_threads(threads)
  {
    std::vector<double> wave(4 * in.n_delta);
#pragma omp for schedule(static) nowait
    for (std::int64_t image = 0; image < in.n_image; ++image)
      for (std::int64_t bin = 0; bin < in.n_bin; ++bin) {
        fill_wave(in.phase[image * in.n_bin + bin], in.first[image], in.step[image], in.n_delta, wave.data());
        for (std::int64_t pose = image * in.n_pose; pose < (image + 1) * in.n_pose; ++pose)
          add_scores(in.sums + (pose * in.n_bin + bin) * 4, wave.data(), in.n_delta, scores + pose * in.n_delta);
      }
  }
}

}  // namespace pycryo
