// The sums of all tiles, put in their places, and the numbers of samples.
#include <limits>

#include "insertion.hpp"

namespace pycryo::self_test {
namespace {

bool is_zero(const double* voxel) { return voxel[0] == 0 && voxel[1] == 0 && voxel[2] == 0; }

}  // namespace

void check_tiles(Case& of) {
  const Insertion in(of);
  Sums sums(in.n_voxel());
  bool all_touched = true;
  for_each_tile(in.images, in.entries, in.slab, in.quanta, std::numeric_limits<std::int64_t>::max(), of.threads(),
                [&](const Tile& tile, const TileSums& from) {
                  for (std::int64_t y = 0; y < tile.count[1]; ++y)
                    for (std::int64_t z = 0; z < tile.count[2]; ++z) {
                      const std::int64_t row = (tile.first[1] + y) * in.layers() + tile.first[2] + z;
                      std::uint64_t& touched = from.touched[y * tile_width + z];
                      for (std::int64_t x = 0; x < tile.count[0]; ++x) {
                        double* voxel = from.voxel[TileSums::place(y, z) + x + 1];
                        if (is_zero(voxel)) continue;
                        const std::int64_t at = in.slab.start[row] + tile.first[0] + x - in.first_voxel();
                        sums.re[at] = voxel[0], sums.im[at] = voxel[1], sums.weight[at] = voxel[2];
                        if (!(touched >> (x + 1) & 1)) all_touched = false;
                        for (int part = 0; part < 4; ++part) voxel[part] = 0;
                      }
                      touched = 0;
                    }
                });
  sums.expect(of);
  of.require(all_touched, "a voxel with a sum is not marked as touched");
  std::int64_t samples = 0;
  for_each_count(in.images, in.entries, in.slab, of.threads(), [&](const Tile&, std::int64_t n) {
#pragma omp atomic
    samples += n;
  });
  of.require(samples >= of.number<std::int64_t>("least_samples"), "fewer samples than there are");
}

}  // namespace pycryo::self_test
