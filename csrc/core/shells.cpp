#include "pycryo/shells.hpp"

#include <algorithm>
#include <type_traits>
#include <vector>

namespace pycryo {
namespace {

// Adds up the four sets of each shell: out n_shell × 3.
void finish(const std::vector<ShellSums>& sums, double* out) {
  for (std::size_t s = 0; s < sums.size(); ++s)
    for (int j = 0; j < 3; ++j)
      out[3 * s + j] = (sums[s].set[0][j] + sums[s].set[1][j]) + (sums[s].set[2][j] + sums[s].set[3][j]);
}

// Of four images: out 4 × n_shell × 3.
void finish_four(const std::vector<FourShellSums>& sums, double* out) {
  for (std::size_t image = 0; image < 4; ++image)
    for (const FourShellSums& of : sums)
      for (int j = 0; j < 3; ++j) *out++ = of.set[0][j][image] + of.set[1][j][image];
}

template <class Real>
auto select_row() {
  if constexpr (std::is_same_v<Real, float>)
    return PYCRYO_SELECT(shells_of_float_row);
  else
    return PYCRYO_SELECT(shells_of_double_row);
}

}  // namespace

void image_shells(const float* a, const float* b, std::int64_t n_image, std::int64_t n_pixel, const std::int32_t* shell,
                  std::int64_t n_shell, double* out, int threads) {
  const auto shells_of_image = PYCRYO_SELECT(shells_of_image);
  const auto shells_of_four_images = PYCRYO_SELECT(shells_of_four_images);
  const std::int64_t n_four = n_image / 4 < threads ? 0 : n_image / 4, n_work = n_image - 3 * n_four;
#pragma omp parallel num_threads(threads)
  {
    std::vector<ShellSums> sums(n_shell);
    std::vector<FourShellSums> four_sums(n_four ? n_shell : 0);
#pragma omp for schedule(static) nowait
    for (std::int64_t work = 0; work < n_work; ++work) {
      const std::int64_t image = work < n_four ? 4 * work : work + 3 * n_four, first = image * 2 * n_pixel;
      double* of_image = out + image * n_shell * 3;
      if (work < n_four) {
        std::fill(four_sums.begin(), four_sums.end(), FourShellSums{});
        shells_of_four_images(a + first, b + first, shell, n_pixel, four_sums.data());
        finish_four(four_sums, of_image);
      } else {
        std::fill(sums.begin(), sums.end(), ShellSums{});
        shells_of_image(a + first, b + first, shell, n_pixel, sums.data());
        finish(sums, of_image);
      }
    }
  }
}

template <class Real>
void layer_shells(const Real* a, const Real* b, const std::int64_t* number, std::int64_t n_layer, std::int64_t box,
                  std::int64_t n_shell, double* out, int threads) {
  const auto shells_of_row = select_row<Real>();
  const std::int64_t row = 2 * (box / 2 + 1);
  const auto frequency = [box](std::int64_t i) { return i <= box / 2 ? i : i - box; };
#pragma omp parallel num_threads(threads)
  {
    std::vector<ShellSums> sums(n_shell);
#pragma omp for schedule(static) nowait
    for (std::int64_t layer = 0; layer < n_layer; ++layer) {
      std::fill(sums.begin(), sums.end(), ShellSums{});
      const std::int64_t first = frequency(number[layer]);
      for (std::int64_t i = 0; i < box; ++i) {
        const std::int64_t second = frequency(i), start = (layer * box + i) * row;
        shells_of_row(a + start, b + start, box, first * first + second * second, n_shell, sums.data());
      }
      double* of_layer = out + layer * n_shell * 3;
      finish(sums, of_layer);
      for (std::int64_t i = 0; i < n_shell * 3; ++i) of_layer[i] *= 2;  // rows are summed with ½·n_k
    }
  }
}

template void layer_shells(const float*, const float*, const std::int64_t*, std::int64_t, std::int64_t, std::int64_t,
                           double*, int);
template void layer_shells(const double*, const double*, const std::int64_t*, std::int64_t, std::int64_t, std::int64_t,
                           double*, int);

}  // namespace pycryo
