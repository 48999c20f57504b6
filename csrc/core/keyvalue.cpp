#include "pycryo/keyvalue.hpp"

#include <algorithm>
#include <limits>
#include <memory>
#include <tuple>

namespace pycryo {
namespace {

constexpr std::int64_t window_words = 64;  // sums of a window, 128 KiB, stay in the cache
constexpr std::int64_t window_keys = 64 * window_words;
constexpr std::int64_t ranges_per_thread = 8;

TileKeyValues take_tile(const Tile& tile, const TileSums& sums, const InsertSlab& slab) {
  const auto take = PYCRYO_SELECT(keyvalue_take);
  const std::int64_t layers = 2 * std::int64_t{slab.radius} + 1;
  TileKeyValues result;
  result.tile = tile;
  std::int64_t n = 0;
  for (std::int64_t y = 0; y < tile.count[1]; ++y)
    for (std::int64_t z = 0; z < tile.count[2]; ++z) {
      std::uint64_t& touched = sums.touched[y * tile_width + z];
      result.touched.push_back(touched);
      n += __builtin_popcountll(touched);
      touched = 0;
    }
  result.n = n;
  result.key.reset(new std::int64_t[n]);
  for (auto* values : {&result.re, &result.im, &result.weight}) values->reset(new double[n]);
  KeyValueSpace to{result.key.get(), result.re.get(), result.im.get(), result.weight.get()};
  for (std::int64_t row = 0; row < static_cast<std::int64_t>(result.touched.size()); ++row) {
    const std::int64_t y = row / tile.count[2], z = row % tile.count[2];
    const std::int64_t start = slab.start[(tile.first[1] + y) * layers + tile.first[2] + z];
    const std::int64_t taken =
        take(sums.voxel + TileSums::place(y, z), result.touched[row], start + tile.first[0] - 1, to);
    to = {to.key + taken, to.re + taken, to.im + taken, to.weight + taken};
  }
  return result;
}

bool precedes(const TileKeyValues& a, const TileKeyValues& b) {
  const auto place = [](const Tile& tile) { return std::tuple(tile.first[1], tile.first[2], tile.first[0]); };
  return place(a.tile) < place(b.tile);
}

// Ends of the groups of tiles with the same first voxel along an axis, from `begin` on, below `end`.
std::int64_t end_of_group(const std::vector<TileKeyValues>& tiles, std::int64_t begin, std::int64_t end, int axis) {
  std::int64_t i = begin;
  while (i < end && tiles[i].tile.first[axis] == tiles[begin].tile.first[axis]) ++i;
  return i;
}

// Writes the voxels of tiles begin ... end - 1, which have the same layers.
void write_layers(const std::vector<TileKeyValues>& tiles, std::int64_t begin, std::int64_t end, KeyValueSpace to) {
  std::vector<std::int64_t> taken(end - begin);
  for (std::int32_t y = 0; y < tiles[begin].tile.count[1]; ++y)
    for (std::int64_t first = begin, last; first < end; first = last) {
      last = end_of_group(tiles, first, end, 2);
      const std::int32_t n_z = tiles[first].tile.count[2];
      for (std::int32_t z = 0; z < n_z; ++z)
        for (std::int64_t i = first; i < last; ++i) {
          const std::int64_t n = __builtin_popcountll(tiles[i].touched[y * n_z + z]);
          const std::int64_t at = taken[i - begin];
          // Few at a time: calls of memmove would take longer.
          for (std::int64_t j = 0; j < n; ++j) {
            to.key[j] = tiles[i].key[at + j];
            to.re[j] = tiles[i].re[at + j];
            to.im[j] = tiles[i].im[at + j];
            to.weight[j] = tiles[i].weight[at + j];
          }
          to = {to.key + n, to.re + n, to.im + n, to.weight + n};
          taken[i - begin] += n;
        }
    }
}

KeyValues part_of(const KeyValues& list, std::int64_t begin, std::int64_t end) {
  return {list.key + begin, list.re + begin, list.im + begin, list.weight + begin, end - begin};
}

}  // namespace

KeyValues keys_between(const KeyValues& list, std::int64_t first, std::int64_t last) {
  const std::int64_t* end = list.key + list.n;
  const std::int64_t* begin = std::lower_bound(list.key, end, first);
  return part_of(list, begin - list.key, std::lower_bound(begin, end, last) - list.key);
}

namespace {

struct Window {
  double voxel[window_keys][4];
  std::uint64_t touched[window_words];
};

// Goes through a range of keys window by window: spread(part of a list, first key) for each list that has keys there,
// then finish(first key).
template <class Spread, class Finish>
void for_each_window(const std::vector<KeyValues>& lists, std::int64_t begin, std::int64_t end, const Spread& spread,
                     const Finish& finish) {
  std::vector<KeyValues> rest;
  for (const KeyValues& list : lists) rest.push_back(keys_between(list, begin, end));
  for (;;) {
    std::int64_t first = std::numeric_limits<std::int64_t>::max();
    for (const KeyValues& list : rest)
      if (list.n > 0) first = std::min(first, list.key[0]);
    if (first == std::numeric_limits<std::int64_t>::max()) return;
    for (KeyValues& list : rest) {
      std::int64_t n = 0;
      while (n < list.n && list.key[n] < first + window_keys) ++n;
      if (n > 0) spread(part_of(list, 0, n), first);
      list = part_of(list, n, list.n);
    }
    finish(first);
  }
}

}  // namespace

std::vector<TileKeyValues> collect_key_values(const InsertImages& images, const InsertEntries& entries,
                                              const InsertSlab& slab, const Quanta& quanta, int threads) {
  std::vector<TileKeyValues> tiles;
  constexpr std::int64_t always = std::numeric_limits<std::int64_t>::max();
  for_each_tile(images, entries, slab, quanta, always, threads, [&](const Tile& tile, const TileSums& sums) {
    TileKeyValues taken = take_tile(tile, sums, slab);
#pragma omp critical
    tiles.push_back(std::move(taken));
  });
  std::sort(tiles.begin(), tiles.end(), precedes);
  return tiles;
}

std::int64_t count_collected(const std::vector<TileKeyValues>& tiles) {
  std::int64_t n = 0;
  for (const TileKeyValues& tile : tiles) n += tile.n;
  return n;
}

void write_collected(const std::vector<TileKeyValues>& tiles, const KeyValueSpace& to, int threads) {
  const std::int64_t n_tile = tiles.size();
  std::vector<std::int64_t> begin{0}, place{0};
  while (begin.back() < n_tile) {
    const std::int64_t end = end_of_group(tiles, begin.back(), n_tile, 1);
    std::int64_t n = place.back();
    for (std::int64_t i = begin.back(); i < end; ++i) n += tiles[i].n;
    begin.push_back(end);
    place.push_back(n);
  }
#pragma omp parallel for num_threads(threads) schedule(dynamic)
  for (std::size_t group = 0; group < begin.size() - 1; ++group) {
    const std::int64_t at = place[group];
    write_layers(tiles, begin[group], begin[group + 1], {to.key + at, to.re + at, to.im + at, to.weight + at});
  }
}

std::int64_t count_key_values(const InsertImages& images, const InsertEntries& entries, const InsertSlab& slab,
                              int threads) {
  const std::int64_t layers = 2 * std::int64_t{slab.radius} + 1;
  std::int64_t total = 0;
  for_each_count(images, entries, slab, threads, [&](const Tile& tile, std::int64_t n_sample) {
    std::int64_t n_voxel = 0;
    for (std::int64_t y = 0; y < tile.count[1]; ++y)
      for (std::int64_t z = 0; z < tile.count[2]; ++z) {
        const std::int64_t* start = slab.start + (tile.first[1] + y) * layers + tile.first[2] + z;
        n_voxel += std::clamp<std::int64_t>(start[1] - start[0] - tile.first[0], 0, tile.count[0]);
      }
    const std::int64_t n = std::min(8 * n_sample, n_voxel);
#pragma omp atomic
    total += n;
  });
  return total;
}

std::vector<std::int64_t> merge_bounds(const std::vector<KeyValues>& lists, int threads) {
  const auto longest =
      std::max_element(lists.begin(), lists.end(), [](const KeyValues& a, const KeyValues& b) { return a.n < b.n; });
  std::vector<std::int64_t> bounds{std::numeric_limits<std::int64_t>::min()};
  const std::int64_t n = longest == lists.end() ? 0 : longest->n, n_range = threads * ranges_per_thread;
  for (std::int64_t range = 1; range < n_range && n > 0; ++range) bounds.push_back(longest->key[n * range / n_range]);
  bounds.push_back(std::numeric_limits<std::int64_t>::max());
  return bounds;
}

std::vector<std::int64_t> count_merged(const std::vector<KeyValues>& lists, const std::vector<std::int64_t>& bounds,
                                       int threads) {
  std::vector<std::int64_t> counts(bounds.size() - 1);
#pragma omp parallel for num_threads(threads) schedule(dynamic)
  for (std::size_t range = 0; range < counts.size(); ++range) {
    std::uint64_t touched[window_words] = {};
    for_each_window(
        lists, bounds[range], bounds[range + 1],
        [&](const KeyValues& part, std::int64_t first) {
          for (std::int64_t i = 0; i < part.n; ++i)
            touched[(part.key[i] - first) / 64] |= std::uint64_t{1} << ((part.key[i] - first) % 64);
        },
        [&](std::int64_t) {
          for (std::uint64_t& word : touched) {
            counts[range] += __builtin_popcountll(word);
            word = 0;
          }
        });
  }
  return counts;
}

void write_merged(const std::vector<KeyValues>& lists, const std::vector<std::int64_t>& bounds,
                  const std::vector<std::int64_t>& counts, const KeyValueSpace& to, int threads) {
  const auto spread = PYCRYO_SELECT(keyvalue_spread);
  const auto take = PYCRYO_SELECT(keyvalue_take);
  std::vector<std::int64_t> place{0};
  for (const std::int64_t count : counts) place.push_back(place.back() + count);
#pragma omp parallel for num_threads(threads) schedule(dynamic)
  for (std::size_t range = 0; range < counts.size(); ++range) {
    const auto window = std::make_unique<Window>();
    std::int64_t at = place[range];
    for_each_window(
        lists, bounds[range], bounds[range + 1],
        [&](const KeyValues& part, std::int64_t first) { spread(part, first, window->voxel, window->touched); },
        [&](std::int64_t first) {
          for (std::int64_t word = 0; word < window_words; ++word) {
            at += take(window->voxel + 64 * word, window->touched[word], first + 64 * word,
                       {to.key + at, to.re + at, to.im + at, to.weight + at});
            window->touched[word] = 0;
          }
        });
  }
}

void add_key_values(const KeyValues& list, std::int64_t origin, double* re, double* im, double* weight, int threads) {
  const auto add = PYCRYO_SELECT(keyvalue_add);
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int part = 0; part < threads; ++part)
    add(part_of(list, list.n * part / threads, list.n * (part + 1) / threads), origin, re, im, weight);
}

}  // namespace pycryo
