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

// Slices that are compared at a time: with a depth block of 256 they fill half a MiB of the cache. 256 and 1024 differ
// by less than the noise (77, 90, 97 % of SGEMM with 150, 300, 1000 pixels; 2 MiB second-level cache).
constexpr std::int64_t block_slices = 512;
// Images that meet a cell of slices one after the other. With 50 instead of 200 the product of 7 rows and 1000 pixels
// is a fifth slower: each chunk brings the cell into its cache anew.
constexpr std::int64_t chunk_images = 256;

struct AlignedDelete {
  void operator()(float* p) const { ::operator delete[](p, std::align_val_t(64)); }
};
using AlignedFloats = std::unique_ptr<float[], AlignedDelete>;

AlignedFloats aligned_floats(std::int64_t n) {
  const std::size_t bytes = static_cast<std::size_t>(std::max<std::int64_t>(n, 1)) * sizeof(float);
  return AlignedFloats(static_cast<float*>(::operator new[](bytes, std::align_val_t(64))));
}

std::int64_t parts(std::int64_t total, std::int64_t greatest) { return (total + greatest - 1) / greatest; }

std::int64_t column_count(std::int64_t n_slice) { return parts(n_slice, cell_slices) * cell_slices; }

struct Kernels {
  std::int64_t columns = PYCRYO_SELECT(compare_panel_columns)();
  decltype(PYCRYO_SELECT(compare_multiply)) multiply = PYCRYO_SELECT(compare_multiply);
  decltype(PYCRYO_SELECT(compare_multiply_norms)) multiply_norms = PYCRYO_SELECT(compare_multiply_norms);
};

struct Group {
  std::int64_t first, n_image;
};

Group group_of(const ImagePanel& panel, std::int64_t g) {
  const std::int64_t first = g * panel.n_image / panel.n_group;
  return {first, (g + 1) * panel.n_image / panel.n_group - first};
}

Group group_with(const ImagePanel& panel, std::int64_t image) {
  return group_of(panel, ((image + 1) * panel.n_group - 1) / panel.n_image);
}

std::int64_t greatest_group(const ImagePanel& panel) { return panel.n_group ? parts(panel.n_image, panel.n_group) : 0; }

// Consecutive slices, from a multiple of the columns of a panel on.
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

// What the threads of a call share.
struct Shared {
  const ImagePanel& panel;
  const CompareTask& task;
  const Kernels kernels;
  const AlignedFloats priors = column_priors(task);

  // `greatest` slices from `first` on, or as many as there are.
  Block block_at(std::int64_t first, std::int64_t greatest) const {
    const std::int64_t n = std::min(greatest, task.slices.n_slice - first);
    return {first, n, parts(n, kernels.columns)};
  }
  const float* weights_of(std::int64_t image) const { return panel.weights + image * panel.n_pixel; }
};

// The products of a group, and those of the weights of some images, with a block of slices.
class Products {
 public:
  Products(const Shared& shared, std::int64_t n_image, std::int64_t n_slice)
      : shared_(shared),
        rows_(aligned_floats(greatest_group(shared.panel) * shared.panel.n_shift * column_count(n_slice))),
        norms_(aligned_floats(n_image * column_count(n_slice))) {}

  void multiply_norms(const std::vector<const float*>& weights, const Block& block) {
    n_weighted_ = static_cast<std::int64_t>(weights.size());
    shared_.kernels.multiply_norms(weights.data(), n_weighted_,
                                   shared_.task.slices.norms + block.first * shared_.panel.n_pixel, block.n_panel,
                                   shared_.panel.n_pixel, norms_.get());
  }

  void multiply(const Group& group, const Block& block) {
    const std::int64_t depth = 2 * shared_.panel.n_pixel;
    shared_.kernels.multiply(shared_.panel.rows + group.first * shared_.panel.n_shift * depth,
                             group.n_image * shared_.panel.n_shift, shared_.task.slices.columns + block.first * depth,
                             block.n_panel, depth, rows_.get());
  }

  // An image of the group, whose weights were the `weighted`-th.
  CompareImage part(const Group& group, std::int64_t image, std::int64_t weighted, const Block& block) const {
    const std::int64_t columns = shared_.kernels.columns, n_shift = shared_.panel.n_shift;
    return {rows_.get() + (image - group.first) * n_shift * columns,
            group.n_image * n_shift * columns,
            norms_.get() + weighted * columns,
            n_weighted_ * columns,
            shared_.task.prior_shift ? shared_.task.prior_shift + image * n_shift : nullptr,
            shared_.priors.get() + block.first,
            n_shift,
            block.n_panel};
  }

 private:
  const Shared& shared_;
  AlignedFloats rows_, norms_;
  std::int64_t n_weighted_ = 0;
};

// Both call finish(image, CompareImage, block, scratch), for one image in the order of the slices and by one thread at
// a time. Scratch is one object per thread.

// For every image and block.
template <class Scratch, class Finish>
void for_each_image(const Shared& shared, int threads, const Finish& finish) {
  const ImagePanel& panel = shared.panel;
  const std::int64_t n_slice = shared.task.slices.n_slice;
#pragma omp parallel num_threads(threads)
  {
    Products products(shared, greatest_group(panel), std::min(block_slices, n_slice));
    std::vector<const float*> weights;
    Scratch scratch;
    for (std::int64_t first = 0; first < n_slice; first += block_slices) {
      const Block block = shared.block_at(first, block_slices);
#pragma omp for schedule(dynamic) nowait
      for (std::int64_t g = 0; g < panel.n_group; ++g) {
        const Group group = group_of(panel, g);
        weights.clear();
        for (std::int64_t i = 0; i < group.n_image; ++i) weights.push_back(shared.weights_of(group.first + i));
        products.multiply(group, block);
        products.multiply_norms(weights, block);
        for (std::int64_t i = 0; i < group.n_image; ++i)
          finish(group.first + i, products.part(group, group.first + i, i, block), block, scratch);
      }
      // An image meets the blocks in their order. After the last one the threads meet anyway.
      if (first + block_slices < n_slice) {
#pragma omp barrier
      }
    }
  }
}

// The first group of each chunk, and the end: consecutive groups that have about as many active cells, as many chunks
// for each thread.
std::vector<std::int64_t> chunk_starts(const Shared& shared, int threads) {
  const ImagePanel& panel = shared.panel;
  const std::int64_t n_cell = column_count(shared.task.slices.n_slice) / cell_slices;
  std::vector<std::int64_t> work(panel.n_group + 1);
  for (std::int64_t g = 0; g < panel.n_group; ++g) {
    const Group group = group_of(panel, g);
    std::int64_t cells = 0;
    for (std::int64_t cell = 0; cell < n_cell; ++cell) {
      bool is_active = false;
      for (std::int64_t i = group.first; i < group.first + group.n_image; ++i)
        is_active |= shared.task.active[i * n_cell + cell] != 0;
      cells += is_active;
    }
    work[g + 1] = work[g] + cells * group.n_image;
  }
  const std::int64_t n_chunk = std::min(panel.n_group, parts(parts(panel.n_image, chunk_images), threads) * threads);
  std::vector<std::int64_t> starts;
  for (std::int64_t chunk = 0, g = 0; chunk < n_chunk; ++chunk) {
    // A group belongs to the chunk in whose part of the work its middle lies.
    while (g < panel.n_group && (work[g] + work[g + 1]) * n_chunk < 2 * work.back() * chunk) ++g;
    starts.push_back(g);
  }
  starts.push_back(panel.n_group);
  return starts;
}

// The images of groups g0 ... g1 - 1 for which a cell is active.
struct ActiveImages {
  std::vector<std::int64_t> images;
  std::vector<const float*> weights;

  void find(const Shared& shared, std::int64_t g0, std::int64_t g1, std::int64_t cell) {
    const std::int64_t n_cell = column_count(shared.task.slices.n_slice) / cell_slices;
    const std::int64_t end = g1 * shared.panel.n_image / shared.panel.n_group;
    images.clear();
    weights.clear();
    for (std::int64_t i = group_of(shared.panel, g0).first; i < end; ++i)
      if (shared.task.active[i * n_cell + cell]) {
        images.push_back(i);
        weights.push_back(shared.weights_of(i));
      }
  }
};

// For every image and its active cells. A cell meets all the images of a chunk while it lies in the cache.
template <class Scratch, class Finish>
void for_each_active(const Shared& shared, int threads, const Finish& finish) {
  const ImagePanel& panel = shared.panel;
  const std::int64_t n_slice = shared.task.slices.n_slice;
  const std::vector<std::int64_t> starts = chunk_starts(shared, threads);
  const std::int64_t n_chunk = static_cast<std::int64_t>(starts.size()) - 1;
  std::int64_t most_groups = 0;
  for (std::int64_t chunk = 0; chunk < n_chunk; ++chunk)
    most_groups = std::max(most_groups, starts[chunk + 1] - starts[chunk]);
#pragma omp parallel num_threads(threads)
  {
    Products products(shared, most_groups * greatest_group(panel), cell_slices);
    ActiveImages active;
    Scratch scratch;
#pragma omp for schedule(dynamic) nowait
    for (std::int64_t chunk = 0; chunk < n_chunk; ++chunk) {
      for (std::int64_t first = 0; first < n_slice; first += cell_slices) {
        const Block block = shared.block_at(first, cell_slices);
        active.find(shared, starts[chunk], starts[chunk + 1], first / cell_slices);
        products.multiply_norms(active.weights, block);
        const std::int64_t n_active = static_cast<std::int64_t>(active.images.size());
        for (std::int64_t i = 0; i < n_active;) {
          const Group group = group_with(panel, active.images[i]);
          products.multiply(group, block);
          for (; i < n_active && active.images[i] < group.first + group.n_image; ++i)
            finish(active.images[i], products.part(group, active.images[i], i, block), block, scratch);
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

// Moves the keys above `pivot` to the front and returns their number, without a branch that depends on a key.
std::int64_t part_above(std::uint64_t* keys, std::int64_t n, std::uint64_t pivot) {
  std::int64_t above = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const std::uint64_t key = keys[i];
    keys[i] = keys[above];
    keys[above] = key;
    above += key > pivot;
  }
  return above;
}

// Moves the `wanted` < n greatest keys to the front, in any order. No two keys are the same.
void select_greatest(std::uint64_t* keys, std::int64_t n, std::int64_t wanted) {
  constexpr std::int64_t few = 16;
  while (n > few && wanted > 0 && wanted < n) {
    const std::uint64_t a = keys[0], b = keys[n / 2], c = keys[n - 1];
    const std::uint64_t middle = std::max(std::min(a, b), std::min(std::max(a, b), c));
    const std::int64_t above = part_above(keys, n, middle);
    if (wanted <= above) {
      n = above;
    } else {
      keys += above;
      n -= above;
      wanted -= above;
    }
  }
  if (wanted > 0 && wanted < n) std::nth_element(keys, keys + wanted, keys + n, std::greater<>());
}

// Merges `n` ≤ n_best candidates, whose indices count from `offset`, into the n_best descending places of one image.
void merge_best(std::uint64_t* keys, std::int64_t n, std::int64_t offset, float* score, std::int64_t* index,
                std::int64_t n_best) {
  std::sort(keys, keys + n, std::greater<>());
  std::int64_t old = n_best - 1, came = n - 1;
  const auto old_is_worse = [&] {
    const float s = score_of(keys[came]);
    return score[old] < s || (score[old] == s && index[old] > offset + index_of(keys[came]));
  };
  for (std::int64_t dropped = n; dropped > 0; --dropped) --(old_is_worse() ? old : came);
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
  std::int64_t n = n_best == 0 || index[n_best - 1] >= 0 ? part.n_panel : 1, n_key = 0;
  float last = n_best ? score[n_best - 1] : 0.0f;
  for (std::int64_t p = 0; p < part.n_panel; p += n, n *= 2) {
    n = std::min(n, part.n_panel - p);
    if (n_best) {
      const float floor = state.max - best.margin - best.relative_margin * std::max(state.max, 0.0f);
      state.threshold = std::max({last, floor, -FLT_MAX});
    }
    const std::int64_t came = finish(panels_of(part, p, n, columns), state, keys.data() + n_key);
    if (n_best == 0) continue;
    // Their indices count from panel p: ~(index + first) = ~index - first.
    const std::uint64_t first = static_cast<std::uint64_t>(p * columns * part.n_shift);
    for (std::int64_t i = n_key; i < n_key + came; ++i) keys[i] -= first;
    n_key += came;
    if (n_key > n_best) {
      select_greatest(keys.data(), n_key, n_best);
      n_key = n_best;
    }
    if (came && n_key == n_best) last = std::max(last, score_of(*std::min_element(keys.data(), keys.data() + n_best)));
  }
  if (n_key) merge_best(keys.data(), n_key, first_slice * part.n_shift, score, index, n_best);
  best.log_max[image] = state.max;
  best.log_sum[image] = state.sum;
}

}  // namespace

void compare_pack_images(const float* images, const ImagePanel& panel, float* rows, int threads) {
  const auto pack_rows = PYCRYO_SELECT(compare_pack_rows);
#pragma omp parallel for num_threads(threads) schedule(static)
  for (std::int64_t g = 0; g < panel.n_group; ++g) {
    const Group group = group_of(panel, g);
    const std::int64_t first = group.first * panel.n_shift * 2 * panel.n_pixel;
    pack_rows(images + first, group.n_image * panel.n_shift, 2 * panel.n_pixel, rows + first);
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
  const std::int64_t most_candidates = std::min(block_slices, task.slices.n_slice) * panel.n_shift;
  const Shared shared{panel, task, {}};
  const auto update = [&](std::int64_t image, const CompareImage& part, const Block& block, Keys& keys) {
    keys.resize(static_cast<std::size_t>(most_candidates));
    update_best(finish, part, task.offset + block.first, shared.kernels.columns, best, image, keys);
  };
  if (task.active)
    for_each_active<Keys>(shared, threads, update);
  else
    for_each_image<Keys>(shared, threads, update);
}

void compare_scores(const ImagePanel& panel, const CompareTask& task, float* out, int threads) {
  const auto store = PYCRYO_SELECT(compare_store);
  const std::int64_t n_slice = task.slices.n_slice;
  struct Nothing {};
  for_each_image<Nothing>(Shared{panel, task, {}}, threads,
                          [&](std::int64_t image, const CompareImage& part, const Block& block, Nothing&) {
                            store(part, block.n_slice, out + image * panel.n_shift * n_slice + block.first, n_slice);
                          });
}

}  // namespace pycryo
