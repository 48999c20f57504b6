#include "pycryo/gridding.hpp"

#include <algorithm>
#include <cmath>
#include <type_traits>
#include <vector>

namespace pycryo {
namespace {

// The number of x = 0, 1, ... with x² ≤ square; exact below 2^52.
std::int64_t count_within(std::int64_t square) {
  return square < 0 ? 0 : static_cast<std::int64_t>(std::sqrt(static_cast<double>(square))) + 1;
}

struct Row {
  std::int64_t first;     // voxel of the layer
  std::int64_t size;      // voxels within reach
  std::int64_t inside;    // of them inside
  std::int64_t interior;  // of them interior
  std::int64_t place;     // index z in the order of numpy.fft
  double distance2;
};

Row row_of(const GriddingLayer& layer, std::int64_t z) {
  const std::int64_t index = z + layer.radius, y = std::abs(layer.y), far_y = y + 2, far_z = std::abs(z) + 2;
  Row row;
  row.first = layer.start[index] - layer.start[0];
  row.size = std::min(layer.start[index + 1] - layer.start[index], layer.reach + 1);
  row.inside = std::min(count_within(layer.inside - y * y - z * z), row.size);
  // The ball's farthest neighbour is the corner two voxels further out along every axis.
  const std::int64_t corner = count_within(layer.inside - far_y * far_y - far_z * far_z);
  row.interior = std::max<std::int64_t>(std::min(corner, row.size) - 2, 0);
  if (std::max(far_y, far_z) > layer.reach) row.interior = 0;
  row.place = z < 0 ? z + layer.n : z;
  row.distance2 = static_cast<double>(y * y + z * z);
  return row;
}

// Calls work(row) for each row within reach.
template <class Work>
void for_rows(const GriddingLayer& layer, Work work) {
  if (std::abs(layer.y) > layer.reach) return;
  for (std::int64_t z = -layer.reach; z <= layer.reach; ++z) work(row_of(layer, z));
}

template <class Real, class OfFloat, class OfDouble>
auto choose(OfFloat of_float, OfDouble of_double) {
  if constexpr (std::is_same_v<Real, float>)
    return of_float;
  else
    return of_double;
}

}  // namespace

void gridding_shell_sums(const GriddingLayer& layer, const double* weight, std::int64_t n_shell, double* sums) {
  const auto sum_row = PYCRYO_SELECT(gridding_sum_row);
  std::vector<double> sets(n_shell * 8);
  for_rows(layer, [&](const Row& row) {
    sum_row(weight + row.first, row.size, row.distance2, layer.shells_per_px, sets.data());
  });
  for (std::int64_t s = 0; s < n_shell; ++s)
    for (int j = 0; j < 2; ++j) {
      const double* of_shell = sets.data() + 8 * s + j;
      sums[2 * s + j] = (of_shell[0] + of_shell[2]) + (of_shell[4] + of_shell[6]);
    }
}

void gridding_start(const GriddingLayer& layer, const double* weight, const double* add, double* w) {
  const auto start_row = PYCRYO_SELECT(gridding_start_row);
  std::fill(w, w + (layer.start[2 * layer.radius + 1] - layer.start[0]), 0.0);
  for_rows(layer, [&](const Row& row) {
    start_row(weight + row.first, add, row.inside, row.distance2, layer.shells_per_px, w + row.first);
  });
}

void gridding_product(const GriddingLayer& layer, const double* weight, const double* add, const double* w,
                      double* product) {
  const auto product_row = PYCRYO_SELECT(gridding_product_row);
  for_rows(layer, [&](const Row& row) {
    product_row(weight + row.first, add, w + row.first, row.inside, row.distance2, layer.shells_per_px,
                product + row.first);
  });
}

template <class Real>
void gridding_place(const GriddingLayer& layer, const double* re, const double* im, Real* samples, std::int64_t width) {
  const auto place = choose<Real>(PYCRYO_SELECT(gridding_place_float), PYCRYO_SELECT(gridding_place_double));
  for_rows(layer, [&](const Row& row) {
    place(re + row.first, im == nullptr ? nullptr : im + row.first, std::min(row.inside, width),
          samples + 2 * width * row.place);
  });
}

template <class Real>
double gridding_deviation(const GriddingLayer& layer, const Real* samples, std::int64_t width) {
  const auto deviation =
      choose<Real>(PYCRYO_SELECT(gridding_deviation_float), PYCRYO_SELECT(gridding_deviation_double));
  double worst = 0;
  for_rows(layer, [&](const Row& row) {
    worst = std::max(worst, deviation(samples + 2 * width * row.place, std::min(row.interior, width)));
  });
  return worst;
}

template <class Real>
void gridding_divide(const GriddingLayer& layer, const Real* samples, std::int64_t width, double* w) {
  const auto divide = choose<Real>(PYCRYO_SELECT(gridding_divide_float), PYCRYO_SELECT(gridding_divide_double));
  for_rows(layer, [&](const Row& row) {
    divide(samples + 2 * width * row.place, std::min(row.inside, width), w + row.first);
  });
}

template <class Real>
void gridding_scale(Real* points, std::int64_t n_y, std::int64_t n_x, const Real* along_y, const Real* along_x) {
  const auto scale = choose<Real>(PYCRYO_SELECT(gridding_scale_float), PYCRYO_SELECT(gridding_scale_double));
  for (std::int64_t y = 0; y < n_y; ++y) scale(points + y * n_x, n_x, along_y[y], along_x);
}

template void gridding_place(const GriddingLayer&, const double*, const double*, float*, std::int64_t);
template void gridding_place(const GriddingLayer&, const double*, const double*, double*, std::int64_t);
template double gridding_deviation(const GriddingLayer&, const float*, std::int64_t);
template double gridding_deviation(const GriddingLayer&, const double*, std::int64_t);
template void gridding_divide(const GriddingLayer&, const float*, std::int64_t, double*);
template void gridding_divide(const GriddingLayer&, const double*, std::int64_t, double*);
template void gridding_scale(float*, std::int64_t, std::int64_t, const float*, const float*);
template void gridding_scale(double*, std::int64_t, std::int64_t, const double*, const double*);

}  // namespace pycryo
