#include "pycryo/backprojector.hpp"

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

namespace pycryo {
namespace {

constexpr std::int64_t column_bytes = std::int64_t{1} << 20;  // a column should fit half of an L2 cache

// The largest tile (a power of two up to 16 cells) whose column of three double arrays fits column_bytes.
std::int32_t choose_tile_bits(std::int32_t radius) {
  std::int32_t bits = 4;
  const auto bytes = [&] { return 24 * ((1ll << bits) + 1) * ((1ll << bits) + 1) * (radius + 1); };
  while (bits > 1 && bytes() > column_bytes) --bits;
  return bits;
}

// Samples sorted at a time: records of a quarter of the volume's size, so that the volume streams through the cache
// rarely for the samples it receives, within 4 and 128 MiB.
std::int64_t choose_block_records(std::int32_t radius) {
  const double volume_bytes = 24.0 * (2 * radius + 1) * (2 * radius + 1) * (radius + 1);
  const double records = volume_bytes / 4 / sizeof(BackprojectRecord);
  return static_cast<std::int64_t>(std::clamp(records, 0x1p17, 0x1p22));
}

// cos, then sin, of 2π k shift / box for k = -k_max ... k_max. Rotating step by step in double errs by k_max · 1e-16.
void fill_ramp(double shift, double box, std::int32_t k_max, float* ramp) {
  const double step = 2 * M_PI * shift / box, step_cos = std::cos(step), step_sin = std::sin(step);
  float *cosine = ramp + k_max, *sine = cosine + 2 * k_max + 1;
  double c = 1, s = 0;
  for (std::int32_t k = 0; k <= k_max; ++k) {
    cosine[k] = cosine[-k] = static_cast<float>(c);
    sine[k] = static_cast<float>(s);
    sine[-k] = -sine[k];
    const double next = c * step_cos - s * step_sin;
    s = s * step_cos + c * step_sin;
    c = next;
  }
}

BackprojectPlane place(const double* rotation, double magnification, BackprojectPlane plane) {
  for (int axis = 0; axis < 3; ++axis) {
    plane.along_x[axis] = magnification * rotation[axis];
    plane.along_y[axis] = magnification * rotation[3 + axis];
  }
  return plane;
}

// Turns counts [part][column] into the first record of each, columns in order and parts in order within a column.
// Returns the start of every column and the total.
std::vector<std::int64_t> accumulate_counts(std::vector<std::int64_t>& counts, std::int64_t n_part,
                                            std::int64_t n_column) {
  std::vector<std::int64_t> start(n_column + 1);
  std::int64_t total = 0;
  for (std::int64_t column = 0; column < n_column; ++column) {
    start[column] = total;
    for (std::int64_t part = 0; part < n_part; ++part) {
      const std::int64_t count = counts[part * n_column + column];
      counts[part * n_column + column] = total;
      total += count;
    }
  }
  start[n_column] = total;
  return start;
}

// Sorts the samples of entries first ... last - 1 by column; returns the start of every column in `records`.
std::vector<std::int64_t> sort_block(const BackprojectImages& in, const BackprojectEntries& entries,
                                     const BackprojectPlane& frame, std::int64_t first, std::int64_t last,
                                     BackprojectRecord* records, int threads) {
  const auto count = PYCRYO_SELECT(backproject_count);
  const auto sort = PYCRYO_SELECT(backproject_sort);
  const std::int64_t n_column = std::int64_t{frame.columns_per_axis} * frame.columns_per_axis + 1;
  const std::int64_t n_part = std::min<std::int64_t>(threads, last - first);
  const auto part_begin = [=](std::int64_t part) { return first + (last - first) * part / n_part; };
  std::vector<std::int64_t> cursors(n_part * n_column);

#pragma omp parallel for num_threads(threads) schedule(static)
  for (std::int64_t part = 0; part < n_part; ++part)
    for (std::int64_t e = part_begin(part); e < part_begin(part + 1); ++e)
      count(place(entries.rotations + 9 * e, in.magnification, frame), in.kx, in.ky, in.n_pixel,
            cursors.data() + part * n_column);

  const std::vector<std::int64_t> start = accumulate_counts(cursors, n_part, n_column);

#pragma omp parallel for num_threads(threads) schedule(static)
  for (std::int64_t part = 0; part < n_part; ++part) {
    std::vector<float> ramp_x(4 * in.k_max + 2), ramp_y(4 * in.k_max + 2);
    for (std::int64_t e = part_begin(part); e < part_begin(part + 1); ++e) {
      fill_ramp(entries.shifts[2 * e], in.box, in.k_max, ramp_x.data());
      fill_ramp(entries.shifts[2 * e + 1], in.box, in.k_max, ramp_y.data());
      const float* image = in.images + entries.image[e] * 2 * in.n_pixel;
      sort(place(entries.rotations + 9 * e, in.magnification, frame), in.kx, in.ky, in.n_pixel, image,
           image + in.n_pixel, in.weights + entries.image[e] * in.n_pixel, in.k_max, ramp_x.data(), ramp_y.data(),
           static_cast<float>(entries.weight[e]), records, cursors.data() + part * n_column);
    }
  }
  return start;
}

void add_block(const BackprojectVolume& volume, const BackprojectPlane& frame, const BackprojectRecord* records,
               const std::vector<std::int64_t>& start, int threads) {
  const auto add = PYCRYO_SELECT(backproject_add);
  const std::int64_t layer = 2 * std::int64_t{volume.radius} + 1, first = layer * volume.first,
                     last = layer * volume.last;
  const std::int64_t per_axis = frame.columns_per_axis;
  for (std::int64_t parity = 0; parity < 4; ++parity) {
    const std::int64_t first_y = parity / 2, first_z = parity % 2;
    const std::int64_t n_y = (per_axis - first_y + 1) / 2, n_z = (per_axis - first_z + 1) / 2;
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (std::int64_t work = 0; work < n_y * n_z; ++work) {
      const std::int64_t y = first_y + 2 * (work / n_z), z = first_z + 2 * (work % n_z), number = y * per_axis + z;
      const std::int64_t row = (y << frame.tile_bits) * layer + (z << frame.tile_bits);
      const BackprojectColumn column{volume.start + row, volume.start[first], static_cast<std::int32_t>(layer),
                                     static_cast<std::int32_t>(std::max<std::int64_t>(first - row, 0)),
                                     static_cast<std::int32_t>(last - row)};
      add(records + start[number], start[number + 1] - start[number], column, volume.quantum_value,
          volume.quantum_weight, volume.re, volume.im, volume.weight);
    }
  }
}

}  // namespace

void backproject(const BackprojectImages& images, const BackprojectEntries& entries, const BackprojectVolume& volume,
                 int threads) {
  if (images.n_pixel == 0 || entries.n_entry == 0) return;
  const std::int32_t bits = choose_tile_bits(volume.radius);
  const BackprojectPlane frame{
      {}, {}, volume.radius, volume.first, volume.last, bits, ((2 * volume.radius) >> bits) + 1};
  const std::int64_t block =
      std::min(entries.n_entry, std::max<std::int64_t>(1, choose_block_records(volume.radius) / images.n_pixel));
  const std::unique_ptr<BackprojectRecord[]> records(new BackprojectRecord[block * images.n_pixel]);
  for (std::int64_t first = 0; first < entries.n_entry; first += block) {
    const std::int64_t last = std::min(first + block, entries.n_entry);
    const auto start = sort_block(images, entries, frame, first, last, records.get(), threads);
    add_block(volume, frame, records.get(), start, threads);
  }
}

}  // namespace pycryo
