#include "pycryo/compare.hpp"

#include <algorithm>
#include <cfloat>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <vector>

namespace pycryo {
namespace {

// Slices that are packed and compared at a time: with a depth block of 256 they fill half a MiB of the cache.
constexpr std::int64_t block_slices = 512;

struct AlignedDelete {
  void operator()(float* p) const { ::operator delete[](p, std::align_val_t(64)); }
};
using AlignedFloats = std::unique_ptr<float[], AlignedDelete>;

AlignedFloats aligned_floats(std::int64_t n) {
  const std::size_t bytes = static_cast<std::size_t>(std::max<std::int64_t>(n, 1)) * sizeof(float);
  return AlignedFloats(static_cast<float*>(::operator new[](bytes, std::align_val_t(64))));
}

struct Kernels {
  std::int64_t columns = PYCRYO_SELECT(compare_panel_columns)();
  decltype(PYCRYO_SELECT(compare_pack_slices)) pack_slices = PYCRYO_SELECT(compare_pack_slices);
  decltype(PYCRYO_SELECT(compare_multiply)) multiply = PYCRYO_SELECT(compare_multiply);
};

struct Group {
  std::int64_t first, n_image;
};

Group group_of(const ComparePanel& panel, std::int64_t g) {
  const std::int64_t first = g * panel.n_image / panel.n_group;
  return {first, (g + 1) * panel.n_image / panel.n_group - first};
}

std::int64_t greatest_group(const ComparePanel& panel) {
  return panel.n_group ? (panel.n_image + panel.n_group - 1) / panel.n_group : 0;
}

// One block of slices, packed; shared by the threads.
struct Block {
  std::int64_t first, n_slice, n_panel;
  AlignedFloats packed, norms, prior;
};

Block new_block(const ComparePanel& panel, const CompareSlices& slices, std::int64_t columns) {
  const std::int64_t n_column = (std::min(block_slices, slices.n_slice) + columns - 1) / columns * columns;
  return {0,
          0,
          0,
          aligned_floats(2 * panel.n_pixel * n_column),
          aligned_floats(panel.n_pixel * n_column),
          aligned_floats(n_column)};
}

void start_block(Block& block, const CompareSlices& slices, std::int64_t first, std::int64_t columns) {
  block.first = first;
  block.n_slice = std::min(block_slices, slices.n_slice - first);
  block.n_panel = (block.n_slice + columns - 1) / columns;
  for (std::int64_t s = 0; s < block.n_panel * columns; ++s) {
    const bool present = s < block.n_slice;
    block.prior[s] = !present             ? -std::numeric_limits<float>::infinity()
                     : slices.prior_slice ? slices.prior_slice[first + s]
                                          : 0.0f;
  }
}

void pack_panel(const ComparePanel& panel, const CompareSlices& slices, const Kernels& kernels, Block& block,
                std::int64_t p) {
  const std::int64_t first = p * kernels.columns;
  kernels.pack_slices(slices.slices + (block.first + first) * 2 * panel.n_pixel,
                      std::min(kernels.columns, block.n_slice - first), panel.n_pixel,
                      block.packed.get() + first * 2 * panel.n_pixel, block.norms.get() + first * panel.n_pixel);
}

// Calls finish(image, CompareImage, block, scratch) for every image and block, for one image in the order of the slices
// and by one thread at a time. Scratch is one object per thread.
template <class Scratch, class Finish>
void for_each_image(const ComparePanel& panel, const CompareSlices& slices, int threads, const Finish& finish) {
  const Kernels kernels;
  Block block = new_block(panel, slices, kernels.columns);
  const std::int64_t n_pixel = panel.n_pixel, n_shift = panel.n_shift, columns = kernels.columns;
  const std::int64_t scratch_columns = std::min(block_slices, slices.n_slice) + columns;
#pragma omp parallel num_threads(threads)
  {
    const AlignedFloats products = aligned_floats(greatest_group(panel) * n_shift * scratch_columns);
    const AlignedFloats norms = aligned_floats(greatest_group(panel) * scratch_columns);
    Scratch scratch;
    for (std::int64_t first = 0; first < slices.n_slice; first += block_slices) {
#pragma omp single
      start_block(block, slices, first, columns);
#pragma omp for schedule(static)
      for (std::int64_t p = 0; p < block.n_panel; ++p) pack_panel(panel, slices, kernels, block, p);
#pragma omp for schedule(dynamic)
      for (std::int64_t g = 0; g < panel.n_group; ++g) {
        const Group group = group_of(panel, g);
        const std::int64_t n_row = group.n_image * n_shift;
        kernels.multiply(panel.rows + group.first * n_shift * 2 * n_pixel, n_row, block.packed.get(), block.n_panel,
                         2 * n_pixel, products.get());
        kernels.multiply(panel.weights + group.first * n_pixel, group.n_image, block.norms.get(), block.n_panel,
                         n_pixel, norms.get());
        for (std::int64_t i = 0; i < group.n_image; ++i) {
          const std::int64_t image = group.first + i;
          const CompareImage part{products.get() + i * n_shift * columns,
                                  n_row * columns,
                                  norms.get() + i * columns,
                                  group.n_image * columns,
                                  slices.prior_shift ? slices.prior_shift + image * n_shift : nullptr,
                                  block.prior.get(),
                                  n_shift,
                                  block.n_panel};
          finish(image, part, block, scratch);
        }
      }
    }
  }
}

float score_of(std::uint64_t key) {
  const std::uint32_t ordered = static_cast<std::uint32_t>(key >> 32);
  const std::uint32_t bits = ordered & 0x80000000u ? ordered & 0x7fffffffu : ~ordered;
  float score;
  std::memcpy(&score, &bits, sizeof score);
  return score;
}

std::int64_t index_of(std::uint64_t key) { return static_cast<std::uint32_t>(~key); }

// Merges `n` candidates, whose indices count from `offset`, into the n_best descending places of one image.
void merge_best(std::uint64_t* keys, std::int64_t n, std::int64_t offset, float* score, std::int64_t* index,
                std::int64_t n_best) {
  std::uint64_t* const last = keys + std::min(n, n_best);
  if (last != keys + n) std::nth_element(keys, last, keys + n, std::greater<>());
  std::sort(keys, last, std::greater<>());
  std::int64_t old = n_best - 1, came = last - keys - 1;
  const auto old_is_worse = [&] {
    const float s = score_of(keys[came]);
    return score[old] < s || (score[old] == s && index[old] > offset + index_of(keys[came]));
  };
  for (std::int64_t dropped = last - keys; dropped > 0; --dropped) --(old_is_worse() ? old : came);
  for (std::int64_t place = n_best - 1; came >= 0; --place) {
    if (old >= 0 && old_is_worse()) {
      score[place] = score[old];
      index[place] = index[old--];
    } else {
      score[place] = score_of(keys[came]);
      index[place] = offset + index_of(keys[came--]);
    }
  }
}

}  // namespace

void compare_pack(const float* images, const float* weights, const ComparePanel& panel, float* rows,
                  float* packed_weights, int threads) {
  const auto pack_rows = PYCRYO_SELECT(compare_pack_rows);
#pragma omp parallel for num_threads(threads) schedule(static)
  for (std::int64_t g = 0; g < panel.n_group; ++g) {
    const Group group = group_of(panel, g);
    const std::int64_t row = group.first * panel.n_shift * 2 * panel.n_pixel, weight = group.first * panel.n_pixel;
    pack_rows(images + row, group.n_image * panel.n_shift, 2 * panel.n_pixel, rows + row);
    pack_rows(weights + weight, group.n_image, panel.n_pixel, packed_weights + weight);
  }
}

void compare(const ComparePanel& panel, const CompareSlices& slices, const CompareBest& best, int threads) {
  const auto finish = PYCRYO_SELECT(compare_finish);
  using Keys = std::vector<std::uint64_t>;
  const std::int64_t greatest = (std::min(block_slices, slices.n_slice) + 1) * panel.n_shift;
  for_each_image<Keys>(
      panel, slices, threads, [&](std::int64_t image, const CompareImage& part, const Block& block, Keys& keys) {
        float* score = best.score + image * best.n_best;
        std::int64_t* index = best.index + image * best.n_best;
        const float worst = best.n_best ? score[best.n_best - 1] : FLT_MAX;
        CompareState state{static_cast<float>(best.log_max[image]), std::max(worst, -FLT_MAX), best.log_sum[image]};
        keys.resize(static_cast<std::size_t>(greatest));
        const std::int64_t n = finish(part, state, keys.data());
        best.log_max[image] = state.max;
        best.log_sum[image] = state.sum;
        if (n && best.n_best)
          merge_best(keys.data(), n, (slices.offset + block.first) * panel.n_shift, score, index, best.n_best);
      });
}

void compare_scores(const ComparePanel& panel, const CompareSlices& slices, float* out, int threads) {
  const auto store = PYCRYO_SELECT(compare_store);
  struct Nothing {};
  for_each_image<Nothing>(
      panel, slices, threads, [&](std::int64_t image, const CompareImage& part, const Block& block, Nothing&) {
        store(part, block.n_slice, out + image * panel.n_shift * slices.n_slice + block.first, slices.n_slice);
      });
}

}  // namespace pycryo
