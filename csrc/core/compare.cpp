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

// Slices that are compared at a time: with a depth block of 256 they fill half a MiB of the cache.
constexpr std::int64_t block_slices = 512;

struct AlignedDelete {
  void operator()(float* p) const { ::operator delete[](p, std::align_val_t(64)); }
};
using AlignedFloats = std::unique_ptr<float[], AlignedDelete>;

AlignedFloats aligned_floats(std::int64_t n) {
  const std::size_t bytes = static_cast<std::size_t>(std::max<std::int64_t>(n, 1)) * sizeof(float);
  return AlignedFloats(static_cast<float*>(::operator new[](bytes, std::align_val_t(64))));
}

std::int64_t column_count(std::int64_t n_slice) { return (n_slice + cell_slices - 1) / cell_slices * cell_slices; }

struct Kernels {
  std::int64_t columns = PYCRYO_SELECT(compare_panel_columns)();
  decltype(PYCRYO_SELECT(compare_multiply)) multiply = PYCRYO_SELECT(compare_multiply);
};

struct Group {
  std::int64_t first, n_image;
};

Group group_of(const ImagePanel& panel, std::int64_t g) {
  const std::int64_t first = g * panel.n_image / panel.n_group;
  return {first, (g + 1) * panel.n_image / panel.n_group - first};
}

std::int64_t greatest_group(const ImagePanel& panel) {
  return panel.n_group ? (panel.n_image + panel.n_group - 1) / panel.n_group : 0;
}

struct Block {
  std::int64_t first, n_slice, n_panel;
};

// Priors of the columns; -∞ where no slice is.
AlignedFloats column_priors(const CompareTask& task) {
  const std::int64_t n_slice = task.slices.n_slice, n_column = column_count(n_slice);
  AlignedFloats priors = aligned_floats(n_column);
  std::fill_n(priors.get(), n_slice, 0.0f);
  if (task.prior_slice) std::copy_n(task.prior_slice, n_slice, priors.get());
  std::fill(priors.get() + n_slice, priors.get() + n_column, -std::numeric_limits<float>::infinity());
  return priors;
}

// Calls finish(image, CompareImage, block, scratch) for every image and block, for one image in the order of the slices
// and by one thread at a time. Scratch is one object per thread.
template <class Scratch, class Finish>
void for_each_image(const ImagePanel& panel, const CompareTask& task, int threads, const Finish& finish) {
  const Kernels kernels;
  const std::int64_t n_pixel = panel.n_pixel, n_shift = panel.n_shift, columns = kernels.columns;
  const std::int64_t n_slice = task.slices.n_slice, n_column = column_count(std::min(block_slices, n_slice));
  const AlignedFloats priors = column_priors(task);
#pragma omp parallel num_threads(threads)
  {
    const AlignedFloats products = aligned_floats(greatest_group(panel) * n_shift * n_column);
    const AlignedFloats norms = aligned_floats(greatest_group(panel) * n_column);
    Scratch scratch;
    for (std::int64_t first = 0; first < n_slice; first += block_slices) {
      const std::int64_t n = std::min(block_slices, n_slice - first);
      const Block block{first, n, (n + columns - 1) / columns};
#pragma omp for schedule(dynamic)
      for (std::int64_t g = 0; g < panel.n_group; ++g) {
        const Group group = group_of(panel, g);
        const std::int64_t n_row = group.n_image * n_shift;
        kernels.multiply(panel.rows + group.first * n_shift * 2 * n_pixel, n_row,
                         task.slices.columns + first * 2 * n_pixel, block.n_panel, 2 * n_pixel, products.get());
        kernels.multiply(panel.weights + group.first * n_pixel, group.n_image, task.slices.norms + first * n_pixel,
                         block.n_panel, n_pixel, norms.get());
        for (std::int64_t i = 0; i < group.n_image; ++i) {
          const std::int64_t image = group.first + i;
          const CompareImage part{products.get() + i * n_shift * columns,
                                  n_row * columns,
                                  norms.get() + i * columns,
                                  group.n_image * columns,
                                  task.prior_shift ? task.prior_shift + image * n_shift : nullptr,
                                  priors.get() + first,
                                  n_shift,
                                  block.n_panel};
          finish(image, part, block, scratch);
        }
      }
    }
  }
}

// `n` panels of an image from panel `first` on.
CompareImage panels_of(const CompareImage& image, std::int64_t first, std::int64_t n, std::int64_t columns) {
  CompareImage part = image;
  part.products += first * image.panel_stride;
  part.norms += first * image.norm_stride;
  part.prior_slice += first * columns;
  part.n_panel = n;
  return part;
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

using Keys = std::vector<std::uint64_t>;
using Finish = std::int64_t (*)(const CompareImage&, CompareState&, std::uint64_t*) noexcept;

// Adds the scores of one image in a block, whose first slice has the index `first_slice`, to what is kept of them.
void update_best(Finish finish, const CompareImage& part, std::int64_t first_slice, std::int64_t columns,
                 const CompareBest& best, std::int64_t image, Keys& keys) {
  const std::int64_t n_best = best.n_best;
  float* score = best.score + image * n_best;
  std::int64_t* index = best.index + image * n_best;
  CompareState state{static_cast<float>(best.log_max[image]), FLT_MAX, best.log_sum[image]};
  // Until the places are full every score is a candidate: a growing number of panels keeps them few.
  std::int64_t n = n_best == 0 || index[n_best - 1] >= 0 ? part.n_panel : 1;
  for (std::int64_t p = 0; p < part.n_panel; p += n, n *= 2) {
    n = std::min(n, part.n_panel - p);
    if (n_best) state.threshold = std::max(score[n_best - 1], -FLT_MAX);
    const std::int64_t came = finish(panels_of(part, p, n, columns), state, keys.data());
    const std::int64_t first = (first_slice + p * columns) * part.n_shift;
    if (came && n_best) merge_best(keys.data(), came, first, score, index, n_best);
  }
  best.log_max[image] = state.max;
  best.log_sum[image] = state.sum;
}

}  // namespace

void compare_pack_images(const float* images, const float* weights, const ImagePanel& panel, float* rows,
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

void compare_pack_slices(const float* slices, std::int64_t n_slice, std::int64_t n_pixel, float* columns, float* norms,
                         int threads) {
  const auto pack_panel = PYCRYO_SELECT(compare_pack_panel);
  const std::int64_t width = PYCRYO_SELECT(compare_panel_columns)();
#pragma omp parallel for num_threads(threads) schedule(static)
  for (std::int64_t first = 0; first < n_slice; first += width)
    pack_panel(slices + first * 2 * n_pixel, std::min(width, n_slice - first), n_pixel, columns + first * 2 * n_pixel,
               norms + first * n_pixel);
}

void compare(const ImagePanel& panel, const CompareTask& task, const CompareBest& best, int threads) {
  const auto finish = PYCRYO_SELECT(compare_finish);
  const std::int64_t columns = PYCRYO_SELECT(compare_panel_columns)();
  const std::int64_t most_candidates = std::min(block_slices, task.slices.n_slice) * panel.n_shift;
  const auto update = [&](std::int64_t image, const CompareImage& part, const Block& block, Keys& keys) {
    keys.resize(static_cast<std::size_t>(most_candidates));
    update_best(finish, part, task.offset + block.first, columns, best, image, keys);
  };
  for_each_image<Keys>(panel, task, threads, update);
}

void compare_scores(const ImagePanel& panel, const CompareTask& task, float* out, int threads) {
  const auto store = PYCRYO_SELECT(compare_store);
  const std::int64_t n_slice = task.slices.n_slice;
  struct Nothing {};
  for_each_image<Nothing>(panel, task, threads,
                          [&](std::int64_t image, const CompareImage& part, const Block& block, Nothing&) {
                            store(part, block.n_slice, out + image * panel.n_shift * n_slice + block.first, n_slice);
                          });
}

}  // namespace pycryo
