// keyvalue: sums of image transforms on a padded half volume as a sorted list of the voxels that samples touch.
//
// What is summed is said in tiles.hpp. A list has n entries
//
//   key             n  int64   number of the voxel in the sphere, ascending, none twice
//   re, im, weight  n  double  its sums
//
// Making one is parallel over tiles: the touched voxels of each are taken from its sums, and then put in order. Lists
// are merged and added to a slab in ranges of keys, in parallel; where lists have a key in common, the values are added
// in the order of the lists.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "pycryo/tiles.hpp"

namespace pycryo {

struct KeyValues {
  const std::int64_t* key;
  const double* re;
  const double* im;
  const double* weight;
  std::int64_t n;
};

struct KeyValueSpace {
  std::int64_t* key;
  double* re;
  double* im;
  double* weight;
};

// Touched voxels of one tile, row by row (y, then z, then x).
struct TileKeyValues {
  Tile tile;
  std::vector<std::uint64_t> touched;  // a word for each row; bit x + 1 is voxel x
  std::int64_t n;
  std::unique_ptr<std::int64_t[]> key;
  std::unique_ptr<double[]> re, im, weight;
};

// The voxels that samples touch, tile by tile in the order of y, z and x.
std::vector<TileKeyValues> collect_key_values(const InsertImages& images, const InsertEntries& entries,
                                              const InsertSlab& slab, const Quanta& quanta, int threads);

// Number of voxels of all tiles; writes them in the order of the keys.
std::int64_t count_collected(const std::vector<TileKeyValues>& tiles);
void write_collected(const std::vector<TileKeyValues>& tiles, const KeyValueSpace& to, int threads);

// At least the number of voxels that samples touch: of each tile, its voxels or eight for each sample.
std::int64_t count_key_values(const InsertImages& images, const InsertEntries& entries, const InsertSlab& slab,
                              int threads);

// Number of different keys in ranges of keys bounds[i] ... bounds[i + 1] - 1; writes the merged list.
std::vector<std::int64_t> merge_bounds(const std::vector<KeyValues>& lists, int threads);
std::vector<std::int64_t> count_merged(const std::vector<KeyValues>& lists, const std::vector<std::int64_t>& bounds,
                                       int threads);
void write_merged(const std::vector<KeyValues>& lists, const std::vector<std::int64_t>& bounds,
                  const std::vector<std::int64_t>& counts, const KeyValueSpace& to, int threads);

// Entries with keys from `first` on, below `last`.
KeyValues keys_between(const KeyValues& list, std::int64_t first, std::int64_t last);

// Adds to re, im and weight, whose first voxel has the number `origin`.
void add_key_values(const KeyValues& list, std::int64_t origin, double* re, double* im, double* weight, int threads);

}  // namespace pycryo

// Takes the voxels x whose bit of `touched` is set and leaves zeros there; the key of bit 0 is `first`. Returns how
// many.
PYCRYO_KERNEL(std::int64_t keyvalue_take(double (*voxel)[4], std::uint64_t touched, std::int64_t first,
                                         const KeyValueSpace& to) noexcept)

// Adds a list to voxels whose first has the key `first`, and sets their bits of `touched`.
PYCRYO_KERNEL(void keyvalue_spread(const KeyValues& list, std::int64_t first, double (*voxel)[4],
                                   std::uint64_t* touched) noexcept)

// Adds a list to voxels whose first has the key `first`.
PYCRYO_KERNEL(void keyvalue_add(const KeyValues& list, std::int64_t first, double* re, double* im,
                                double* weight) noexcept)
