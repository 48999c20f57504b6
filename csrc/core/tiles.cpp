#include "pycryo/tiles.hpp"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <vector>

namespace pycryo {
namespace {

constexpr double slack = 1e-6;  // padded Fourier px; far more than the rounding of positions
constexpr std::int64_t most_patches = std::int64_t{1} << 24;  // listed at a time, about: 128 MiB

double dot(const double* a, const double* b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }

PlacedImage place(const InsertImages& in, const InsertEntries& entries, std::int32_t radius, std::int64_t e) {
  PlacedImage placed{};
  auto& [a, b] = placed.along;
  for (int axis = 0; axis < 3; ++axis) {
    a[axis] = in.magnification * entries.rotations[9 * e + axis];
    b[axis] = in.magnification * entries.rotations[9 * e + 3 + axis];
  }
  const double aa = dot(a, a), ab = dot(a, b), bb = dot(b, b), area = aa * bb - ab * ab;
  if (area > 1e-9 * aa * bb) {
    for (int axis = 0; axis < 3; ++axis) {
      const int next = (axis + 1) % 3, last = (axis + 2) % 3;
      placed.across[0][axis] = (bb * a[axis] - ab * b[axis]) / area;
      placed.across[1][axis] = (aa * b[axis] - ab * a[axis]) / area;
      placed.normal[axis] = a[next] * b[last] - a[last] * b[next];
    }
    if (entries.curvature != nullptr && entries.curvature[e] != 0) {
      const double bend = entries.curvature[e] / in.magnification;
      const double length = std::sqrt(dot(placed.normal, placed.normal));
      for (int axis = 0; axis < 3; ++axis) placed.bend[axis] = bend * placed.normal[axis] / length;
      placed.rise = std::abs(bend) * radius * radius;
    }
  } else {  // no rotation: the samples are on a line, and any tile may hold any of them
    placed.slack = 1e30;
  }
  placed.turns[0] = entries.shifts[2 * e] / in.box;
  placed.turns[1] = entries.shifts[2 * e + 1] / in.box;
  placed.re = in.images + entries.image[e] * 2 * in.n_pixel;
  placed.im = placed.re + in.n_pixel;
  placed.weight = in.weights + entries.image[e] * in.n_pixel;
  placed.share = static_cast<float>(entries.weight[e]);
  return placed;
}

std::vector<PlacedImage> place_all(const InsertImages& images, const InsertEntries& entries, std::int32_t radius) {
  std::vector<PlacedImage> placed(entries.n_entry);
  for (std::int64_t e = 0; e < entries.n_entry; ++e) placed[e] = place(images, entries, radius, e);
  return placed;
}

// What `Runs` points to.
struct RunTable {
  std::vector<double> ky, kx_first, kx_last;
  std::vector<std::int32_t> pixel, first_at;
  Runs runs;
};

RunTable make_runs(const InsertImages& in) {
  struct Run {
    std::int32_t ky, kx_first, kx_last, pixel;
  };
  std::vector<Run> list;
  for (std::int64_t k = 0; k < in.n_pixel; ++k)
    if (!list.empty() && list.back().ky == in.ky[k] && list.back().kx_last + 1 == in.kx[k])
      ++list.back().kx_last;
    else
      list.push_back({in.ky[k], in.kx[k], in.kx[k], static_cast<std::int32_t>(k)});
  std::stable_sort(list.begin(), list.end(), [](const Run& a, const Run& b) { return a.ky < b.ky; });

  RunTable table;
  const double ky_min = list.front().ky, ky_max = list.back().ky;
  double kx_min = list.front().kx_first, kx_max = list.front().kx_last;
  for (const Run& run : list) {
    while (static_cast<double>(table.first_at.size()) <= run.ky - ky_min)
      table.first_at.push_back(static_cast<std::int32_t>(table.ky.size()));
    table.ky.push_back(run.ky);
    table.kx_first.push_back(run.kx_first);
    table.kx_last.push_back(run.kx_last);
    table.pixel.push_back(run.pixel);
    kx_min = std::min(kx_min, table.kx_first.back());
    kx_max = std::max(kx_max, table.kx_last.back());
  }
  table.first_at.push_back(static_cast<std::int32_t>(list.size()));
  for (auto* array : {&table.ky, &table.kx_first}) array->resize(list.size() + run_lanes, 0);
  table.kx_last.resize(list.size() + run_lanes, -1);
  table.pixel.resize(list.size() + run_lanes, 0);
  table.runs = {table.ky.data(),
                table.kx_first.data(),
                table.kx_last.data(),
                table.pixel.data(),
                table.first_at.data(),
                ky_min,
                ky_max,
                kx_min,
                kx_max,
                in.n_pixel};
  return table;
}

// The tiles of a slab, numbered along x, then z, then y.
class Tiling {
 public:
  Tiling(const InsertSlab& slab, const Runs& runs) : slab_(slab), runs_(runs) {
    const std::int32_t half = slab.radius + 1;
    layers_ = 2 * slab.radius + 1;
    n_x_ = (half + tile_length - 1) / tile_length;
    length_ = (half + n_x_ - 1) / n_x_;
    n_y_ = (slab.last - slab.first + tile_width - 1) / tile_width;
    n_z_ = (layers_ + tile_width - 1) / tile_width;
  }

  std::int32_t n_y() const { return n_y_; }
  std::int64_t per_y() const { return std::int64_t{n_z_} * n_x_; }

  Tile tile(std::int64_t number) const {
    const auto x = static_cast<std::int32_t>(number % n_x_), z = static_cast<std::int32_t>(number / n_x_ % n_z_);
    const auto y = static_cast<std::int32_t>(number / n_x_ / n_z_);
    const Span across_x = span_x(x), across_y = span_y(y), across_z = span_z(z);
    return {{across_x.first, across_y.first, across_z.first}, {across_x.count, across_y.count, across_z.count}};
  }

  // Rows of tiles for which n_entry entries have about most_patches patches, at least one.
  std::int32_t rows_at_once(std::int64_t n_entry) const {
    return static_cast<std::int32_t>(
        std::clamp<std::int64_t>(most_patches / (n_entry * 4 * (n_z_ + n_x_)), 1, std::max(n_y_, 1)));
  }

  // Calls visit(tile, is_mate) for the tiles of rows row ... end - 1 that samples of an entry may touch.
  template <class Visit>
  void visit(const PlacedImage& entry, std::int32_t row, std::int32_t end, const Visit& visit) const {
    const double* normal = entry.normal;
    const double rise = entry.rise * std::sqrt(dot(normal, normal));
    for (std::int32_t y = row; y < end; ++y) {
      const Range along_y = range(span_y(y), slab_.radius);
      for (std::int32_t z = 0; z < n_z_; ++z) {
        const Range along_z = range(span_z(z), slab_.radius);
        const double rest = double(slab_.radius) * slab_.radius - square_nearest(along_y) - square_nearest(along_z);
        if (rest < 0) continue;
        const double middle = -(normal[1] * along_y.middle + normal[2] * along_z.middle);
        const double half = std::abs(normal[1]) * along_y.half + std::abs(normal[2]) * along_z.half + rise;
        double low = 0, high = std::sqrt(rest);
        if (std::abs(normal[0]) > 1e-12 * half) {
          const double a = (middle - half) / normal[0], b = (middle + half) / normal[0];
          low = std::max(low, std::min(a, b));
          high = std::min(high, std::max(a, b));
        } else if (std::abs(middle) > half) {
          continue;
        }
        if (low > high + 2 * slack) continue;
        const auto first = static_cast<std::int32_t>(std::max(low - slack, 0.0) / length_);
        const auto last = std::min(static_cast<std::int32_t>((high + 1 + 3 * slack) / length_), n_x_ - 1);
        for (std::int32_t x = first; x <= last; ++x) {
          const Range box[3] = {range(span_x(x), 0), along_y, along_z};
          const std::int64_t number = (std::int64_t{y} * n_z_ + z) * n_x_ + x;
          for (const bool is_mate : {false, true})
            if (meets_samples(entry, box, is_mate ? -1 : 1)) visit(number, is_mate);
        }
      }
    }
  }

 private:
  struct Span {
    std::int32_t first, count;
  };
  // Positions of samples that touch voxels of a span.
  struct Range {
    double middle, half;
  };

  Span span_x(std::int32_t x) const { return {x * length_, std::min(length_, slab_.radius + 1 - x * length_)}; }
  Span span_y(std::int32_t y) const {
    const std::int32_t first = slab_.first + y * tile_width;
    return {first, std::min(tile_width, slab_.last - first)};
  }
  Span span_z(std::int32_t z) const { return {z * tile_width, std::min(tile_width, layers_ - z * tile_width)}; }

  static Range range(const Span& span, double origin) {
    return {span.first - origin + 0.5 * (span.count - 1), 0.5 * (span.count + 1) + slack};
  }

  static double square_nearest(const Range& range) {
    const double distance = std::max(std::abs(range.middle) - range.half, 0.0);
    return distance * distance;
  }

  bool meets_samples(const PlacedImage& entry, const Range* box, double sign) const {
    const double least[2] = {runs_.kx_min, runs_.ky_min}, most[2] = {runs_.kx_max, runs_.ky_max};
    for (int axis = 0; axis < 2; ++axis) {
      double middle = 0, half = entry.slack;
      for (int j = 0; j < 3; ++j) {
        middle += sign * entry.across[axis][j] * box[j].middle;
        half += std::abs(entry.across[axis][j]) * box[j].half;
      }
      if (middle + half < least[axis] || middle - half > most[axis]) return false;
    }
    return true;
  }

  const InsertSlab& slab_;
  const Runs& runs_;
  std::int32_t layers_, n_x_, n_y_, n_z_, length_;
};

// Patches of some rows of tiles, tile by tile, in the order of the entries.
struct Patches {
  std::vector<Patch> patch;
  std::vector<std::int64_t> start;  // of each tile, and the end
};

// Turns counts [part][tile] into the first place of each, tiles in order and parts in order within a tile.
// Returns the start of every tile and the total.
std::vector<std::int64_t> accumulate_counts(std::vector<std::int64_t>& counts, std::int64_t n_part,
                                            std::int64_t n_tile) {
  std::vector<std::int64_t> start(n_tile + 1);
  std::int64_t total = 0;
  for (std::int64_t tile = 0; tile < n_tile; ++tile) {
    start[tile] = total;
    for (std::int64_t part = 0; part < n_part; ++part) {
      const std::int64_t count = counts[part * n_tile + tile];
      counts[part * n_tile + tile] = total;
      total += count;
    }
  }
  start[n_tile] = total;
  return start;
}

Patches list_patches(const Tiling& tiling, const std::vector<PlacedImage>& entries, std::int32_t row, std::int32_t end,
                     int threads) {
  const std::int64_t n_entry = entries.size(), n_part = std::min<std::int64_t>(threads, n_entry);
  const std::int64_t first = row * tiling.per_y(), n_tile = (end - row) * tiling.per_y();
  std::vector<std::int64_t> cursors(n_part * n_tile);
  Patches patches;
  const auto for_each_part = [&](const auto& work) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (std::int64_t part = 0; part < n_part; ++part) {
      std::int64_t* cursor = cursors.data() + part * n_tile - first;
      for (std::int64_t e = n_entry * part / n_part; e < n_entry * (part + 1) / n_part; ++e)
        tiling.visit(entries[e], row, end, [&](std::int64_t tile, bool is_mate) {
          work(cursor[tile], Patch{static_cast<std::int32_t>(e), is_mate});
        });
    }
  };
  for_each_part([](std::int64_t& cursor, const Patch&) { ++cursor; });
  patches.start = accumulate_counts(cursors, n_part, n_tile);
  patches.patch.resize(patches.start.back());
  for_each_part([&](std::int64_t& cursor, const Patch& patch) { patches.patch[cursor++] = patch; });
  return patches;
}

// Tiles with patches.
std::vector<std::int64_t> filled_tiles(const Patches& patches) {
  std::vector<std::int64_t> filled;
  const auto count = [&](std::int64_t tile) { return patches.start[tile + 1] - patches.start[tile]; };
  for (std::int64_t tile = 0; tile + 1 < static_cast<std::int64_t>(patches.start.size()); ++tile)
    if (count(tile) > 0) filled.push_back(tile);
  return filled;
}

struct SumsMemory {
  alignas(64) double voxel[tile_rows * tile_row_stride][4];
  std::uint64_t touched[tile_rows];
};

// Makes a worker in each thread and calls worker(source, tile, patches, n) for each tile that has patches.
template <class MakeWorker>
void for_each_list(const InsertImages& images, const InsertEntries& entries, const InsertSlab& slab, int threads,
                   const MakeWorker& make_worker) {
  if (images.n_pixel == 0 || entries.n_entry == 0) return;
  const std::vector<PlacedImage> placed = place_all(images, entries, slab.radius);
  const RunTable table = make_runs(images);
  const Tiling tiling(slab, table.runs);
  const TileSource source{placed.data(), table.runs, slab.radius};
  const std::int32_t rows = tiling.rows_at_once(entries.n_entry);
  for (std::int32_t row = 0; row < tiling.n_y(); row += rows) {
    const Patches patches = list_patches(tiling, placed, row, std::min(row + rows, tiling.n_y()), threads);
    const std::vector<std::int64_t> filled = filled_tiles(patches);
#pragma omp parallel num_threads(threads)
    {
      const auto worker = make_worker();
#pragma omp for schedule(dynamic) nowait
      for (std::size_t i = 0; i < filled.size(); ++i) {
        const std::int64_t begin = patches.start[filled[i]], end = patches.start[filled[i] + 1];
        worker(source, tiling.tile(row * tiling.per_y() + filled[i]), patches.patch.data() + begin, end - begin);
      }
    }
  }
}

}  // namespace

void for_each_tile(const InsertImages& images, const InsertEntries& entries, const InsertSlab& slab,
                   const Quanta& quanta, std::int64_t most_marked, int threads, const TileWork& work) {
  const auto fill = PYCRYO_SELECT(tile_fill);
  for_each_list(images, entries, slab, threads, [&] {
    const std::shared_ptr<SumsMemory> memory(new SumsMemory());
    return [&, memory](const TileSource& source, const Tile& tile, const Patch* patches, std::int64_t n) {
      const TileSums sums{memory->voxel, n > most_marked ? nullptr : memory->touched};
      fill(source, tile, patches, n, quanta, sums);
      work(tile, sums);
    };
  });
}

void for_each_count(const InsertImages& images, const InsertEntries& entries, const InsertSlab& slab, int threads,
                    const TileCount& work) {
  const auto count = PYCRYO_SELECT(tile_samples);
  for_each_list(images, entries, slab, threads, [&] {
    return [&](const TileSource& source, const Tile& tile, const Patch* patches, std::int64_t n) {
      work(tile, count(source, tile, patches, n));
    };
  });
}

}  // namespace pycryo
