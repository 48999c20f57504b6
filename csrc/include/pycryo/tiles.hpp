// tiles: brings the samples of many posed images to small boxes of voxels, where they are summed in the cache.
//
// For entry e of image i = entry_image[e] and every sample k = (kx, ky):
//
//   q = padding·scale·Aᵀ(kx, ky, curvature[e]·|k'|²),   A = rotations[e];   qx < 0: q → -q and conjugate
//   k' = (kx, ky) read as A says, |k'|² = |Aᵀ(kx, ky, 0)|²; the third axis is normal to the other two
//   value[v]  += g(q - v) · entry_weight[e] · images[i,:,k] · exp(+2πi k·shifts[e] / box)    v = 8 neighbours of q
//   weight[v] += g(q - v) · entry_weight[e] · weights[i,k]                                   g = trilinear
//
// Samples with |q| ≥ r - ½ are left out. Only voxels of the layers y + r = first ... last - 1 are summed.
//
//   images        n_image × 2 × n_pixel  float   real parts, then imaginary parts
//   weights       n_image × n_pixel      float
//   entry_image   n_entry                int64
//   rotations     n_entry × 3 × 3        double
//   shifts        n_entry × 2            double  px of the full box, (x, y)
//   entry_weight  n_entry                double
//   curvature     n_entry                double  per Fourier px of the images; null: 0, central slices
//   kx, ky        n_pixel                int
//   start         D² + 1                 int64   first voxel of row (y + r)·D + z + r of the sphere, D = 2r+1
//
// Each contribution is rounded to a multiple of its quantum (a power of two; 0: not rounded) before it is added. Sums
// of such multiples are exact while they stay below 2^52 quanta, so they do not depend on the order of the entries.
//
// How: a slab is cut into tiles, and for each tile the entries whose surface cuts it are listed. A tile takes from each
// of them the samples that touch its voxels, located by intersecting each row of samples with the tile, and sums them
// in memory of its own that stays in the cache. A sample at a border is thus located by up to eight tiles, but every
// voxel has one owner. Parallel over tiles. The order of additions to a voxel depends on the entries and samples alone,
// never on threads, slabs or tiles.
#pragma once

#include <cstdint>
#include <functional>

#include "pycryo/isa.hpp"

namespace pycryo {

struct InsertImages {
  const float* images;
  const float* weights;
  const std::int32_t* kx;
  const std::int32_t* ky;
  std::int64_t n_pixel;
  double box;
  double magnification;  // padding · scale
};

struct InsertEntries {
  const std::int64_t* image;
  const double* rotations;
  const double* shifts;
  const double* weight;
  const double* curvature;
  std::int64_t n_entry;
};

struct InsertSlab {
  const std::int64_t* start;
  std::int32_t radius;
  std::int32_t first, last;
};

struct Quanta {
  double value, weight;
};

constexpr std::int32_t tile_width = 26;       // most voxels of a tile along y and z; its sums take 1.4 MB
constexpr std::int32_t tile_length = 62;      // and along x: with one more at either end, bits of a word
constexpr std::int32_t tile_row_stride = 65;  // no power of two: rows would share few sets of the cache
constexpr std::int32_t tile_rows = tile_width * tile_width + 1;

// Box of voxels: `first` is (x, y + r, z + r) of its lowest, `count` its extent.
struct Tile {
  std::int32_t first[3];
  std::int32_t count[3];
};

// Sums of a tile. Voxel (x, y, z) from its lowest is at place x + 1 of row y · tile_width + z: real part, imaginary
// part, weight, 0. Bit x + 1 of a row's word of `touched` is set if a sample was added there; null where this is not
// recorded. The last row and the places around the voxels are for what falls outside the tile.
struct TileSums {
  double (*voxel)[4];
  std::uint64_t* touched;

  static constexpr std::int64_t place(std::int64_t y, std::int64_t z) { return (y * tile_width + z) * tile_row_stride; }
};

// An image at a pose. u and v of a point q are its coordinates in units of kx and ky: q·across, curved or not.
struct PlacedImage {
  double along[2][3];  // q = kx·along[0] + ky·along[1]
  double across[2][3];
  double normal[3];
  double bend[3];   // where curved: q += |q|²·bend
  double rise;      // at most so far is q from the plane
  double slack;     // added to the extent of a tile in kx and ky
  double turns[2];  // phase, in turns per kx and ky
  const float* re;
  const float* im;
  const float* weight;
  float share;
};

// Runs of samples with one ky and consecutive kx, sorted by ky; the arrays are padded by `run_lanes` empty runs.
constexpr std::int32_t run_lanes = 8;

struct Runs {
  const double* ky;
  const double* kx_first;
  const double* kx_last;
  const std::int32_t* pixel;     // that of kx_first
  const std::int32_t* first_at;  // first run with ky ≥ ky_min + index
  double ky_min, ky_max, kx_min, kx_max;
  std::int64_t n_pixel;
};

// Samples of an entry that touch a tile: those with qx ≥ 0, or the mates of those with qx < 0.
struct Patch {
  std::int32_t entry;
  std::int32_t is_mate;
};

struct TileSource {
  const PlacedImage* entries;
  Runs runs;
  std::int32_t radius;
};

// Calls `work` for each tile of the slab that samples touch, with their sums. Work runs on several threads and must
// leave zeros in the voxels of the tile and in `touched`, which is recorded where at most `most_marked` patches are.
using TileWork = std::function<void(const Tile&, const TileSums&)>;
void for_each_tile(const InsertImages& images, const InsertEntries& entries, const InsertSlab& slab,
                   const Quanta& quanta, std::int64_t most_marked, int threads, const TileWork& work);

// The same with the number of samples, or somewhat more, that touch each of these tiles.
using TileCount = std::function<void(const Tile&, std::int64_t)>;
void for_each_count(const InsertImages& images, const InsertEntries& entries, const InsertSlab& slab, int threads,
                    const TileCount& work);

}  // namespace pycryo

// Adds the samples of n patches to the sums of a tile.
PYCRYO_KERNEL(void tile_fill(const TileSource& source, const Tile& tile, const Patch* patches, std::int64_t n,
                             const Quanta& quanta, const TileSums& sums) noexcept)

// Number of samples of n patches; a few more where they are near to the border of the tile.
PYCRYO_KERNEL(std::int64_t tile_samples(const TileSource& source, const Tile& tile, const Patch* patches,
                                        std::int64_t n) noexcept)
