#include "pycryo/backprojector.hpp"

#include <algorithm>

namespace pycryo {

void backproject(const InsertImages& images, const InsertEntries& entries, const InsertSlab& slab, const Quanta& quanta,
                 const SlabSums& sums, int threads) {
  const auto add_row = PYCRYO_SELECT(backproject_add_row);
  const std::int64_t layers = 2 * std::int64_t{slab.radius} + 1, origin = slab.start[slab.first * layers];
  for_each_tile(images, entries, slab, quanta, false, threads, [&](const Tile& tile, const TileSums& tile_sums) {
    for (std::int64_t y = 0; y < tile.count[1]; ++y)
      for (std::int64_t z = 0; z < tile.count[2]; ++z) {
        const std::int64_t* start = slab.start + (tile.first[1] + y) * layers + tile.first[2] + z;
        const std::int64_t n = std::min<std::int64_t>(tile.count[0], start[1] - start[0] - tile.first[0]);
        const std::int64_t voxel = start[0] + tile.first[0] - origin;
        if (n > 0)
          add_row(tile_sums.voxel + (y * tile_width + z) * tile_row_stride + 1, n, sums.re + voxel, sums.im + voxel,
                  sums.weight + voxel);
      }
  });
}

}  // namespace pycryo
