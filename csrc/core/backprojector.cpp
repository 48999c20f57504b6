#include "pycryo/backprojector.hpp"

#include <algorithm>

namespace pycryo {
namespace {

// Tiles with no more patches are added voxel by voxel: few voxels are touched.
constexpr std::int64_t few_patches = 4;

}  // namespace

void backproject(const InsertImages& images, const InsertEntries& entries, const InsertSlab& slab, const Quanta& quanta,
                 const SlabSums& sums, int threads) {
  const auto add_row = PYCRYO_SELECT(backproject_add_row);
  const auto add_touched = PYCRYO_SELECT(backproject_add_touched);
  const std::int64_t layers = 2 * std::int64_t{slab.radius} + 1, origin = slab.start[slab.first * layers];
  for_each_tile(images, entries, slab, quanta, few_patches, threads, [&](const Tile& tile, const TileSums& from) {
    for (std::int64_t y = 0; y < tile.count[1]; ++y)
      for (std::int64_t z = 0; z < tile.count[2]; ++z) {
        const std::int64_t* start = slab.start + (tile.first[1] + y) * layers + tile.first[2] + z;
        const std::int64_t n = std::min<std::int64_t>(tile.count[0], start[1] - start[0] - tile.first[0]);
        if (n <= 0) continue;
        const std::int64_t voxel = start[0] + tile.first[0] - origin;
        auto* row = from.voxel + TileSums::place(y, z) + 1;
        if (from.touched == nullptr) {
          add_row(row, n, sums.re + voxel, sums.im + voxel, sums.weight + voxel);
        } else {
          std::uint64_t& touched = from.touched[y * tile_width + z];
          add_touched(row, touched, sums.re + voxel, sums.im + voxel, sums.weight + voxel);
          touched = 0;
        }
      }
  });
}

}  // namespace pycryo
