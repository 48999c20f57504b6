// compare: log-likelihoods of images × shifts against slices that all images share
// (docs/method.md, Model and likelihood).
//
//   score[i,t,s] = Σ_k X̃[i,t,k]·S[s,k] - ½ Σ_p W[i,p]·|S[s,p]|² + prior_shift[i,t] + prior_slice[s]
//
// with k over the 2·n_pixel real numbers of a sample list and p over its pixels: two matrix products. They are blocked
// over rows (image, shift), columns (slices) and depth (k); the scores of a block never leave the cache.
//
//   images       n_image × n_shift × 2 × n_pixel  float   X̃ = CTF·X·exp(+2πi k·t/box)/σ²: real, then imaginary parts
//   weights      n_image × n_pixel                float   W = CTF²/σ²
//   slices       n_slice × 2 × n_pixel            float   packed once for all the images they are compared with
//   prior_shift  n_image × n_shift                float   or null
//   prior_slice  n_slice                          float   or null; -∞ excludes a slice
//   active       n_image × ⌈n_slice/cell_slices⌉  uint8   or null; only slices of cells ≠ 0 are scored for an image
//
// Per image a call updates
//   score, index       n_best: best scores, descending, equal scores by ascending index = slice·n_shift + shift;
//                      unused places hold -∞ and -1. Scores below the best one by more than margin + relative_margin
//                      · (the best, at least 0) may be left out.
//   log_max, log_sum   Σ exp(score) = exp(log_max)·log_sum, log_max the greatest score. A run of scores of one shift
//                      and `columns` consecutive slices may be left out where all of it lies 40 below the greatest
//                      score so far (e⁻⁴⁰ = 4e-18).
//
// Parallel over groups of images. Every score is summed over k in an order that depends on n_pixel alone, and an
// image's scores are visited in the order of shifts and slices of the call, so neither threads nor other images nor
// the place in a group change a bit. Depth blocks are summed apart, so the rounding error grows with 256 + n_pixel/128.
//
// Without `active` groups are multiplied with blocks of slices, with it cell by cell: a group is multiplied with a cell
// if one of its images needs it, so groups of one image compute nothing in vain. It changes no bit of a score, but
// log_sum is then summed up cell by cell. The threads get as many active cells each.
#pragma once

#include <cstdint>

#include "pycryo/isa.hpp"

namespace pycryo {

// Slices of a cell. Every instruction set has panels of a divisor of it.
inline constexpr std::int64_t cell_slices = 32;

// Images packed by compare_pack_images: group g has images g·n_image/n_group ... (g+1)·n_image/n_group - 1.
struct ImagePanel {
  const float* rows;     // n_image·n_shift × 2·n_pixel floats
  const float* weights;  // n_image × n_pixel, as they came
  std::int64_t n_image, n_shift, n_pixel, n_group;
};

// Slices packed by compare_pack_slices in panels (see the kernel contract): cell_slices·⌈n_slice/cell_slices⌉ columns,
// of which those behind the last panel with a slice are unused. Both aligned to 64 bytes.
struct SlicePanel {
  const float* columns;  // 2·n_pixel floats per column
  const float* norms;    // |S|², n_pixel floats per column
  std::int64_t n_slice;
};

struct CompareTask {
  SlicePanel slices;
  std::int64_t offset;  // index of the first slice
  const float* prior_shift;
  const float* prior_slice;
  const std::uint8_t* active;
};

struct CompareBest {
  float* score;
  std::int64_t* index;
  std::int64_t n_best;
  double* log_max;
  double* log_sum;
  float margin, relative_margin;
};

// rows: those of `panel`.
void compare_pack_images(const float* images, const ImagePanel& panel, float* rows, int threads);
// columns and norms are those of a SlicePanel.
void compare_pack_slices(const float* slices, std::int64_t n_slice, std::int64_t n_pixel, float* columns, float* norms,
                         int threads);
void compare(const ImagePanel& panel, const CompareTask& task, const CompareBest& best, int threads);
// out: n_image × n_shift × n_slice.
void compare_scores(const ImagePanel& panel, const CompareTask& task, float* out, int threads);

// Kernel contract. A panel of columns is [depth][columns]; rows are packed by depth block, then by tile of at most
// `rows` rows, as [depth][rows of the tile]; a product is [panel][row][columns].
struct CompareImage {
  const float* products;      // first row of the image in the first panel
  std::int64_t panel_stride;  // floats from panel to panel
  const float* norms;         // the image's row of W·|S|² in the first panel
  std::int64_t norm_stride;
  const float* prior_shift;  // n_shift, or null
  const float* prior_slice;  // n_panel·columns; -∞ where no slice is
  std::int64_t n_shift, n_panel;
};

struct CompareState {
  float max;        // of the scores so far
  float threshold;  // a score at or above it is a candidate for the best; finite
  double sum;       // of exp(score - max)
};

}  // namespace pycryo

// Columns of a panel of this instruction set.
PYCRYO_KERNEL(int compare_panel_columns() noexcept)
// rows: n_row × depth, packed: as long.
PYCRYO_KERNEL(void compare_pack_rows(const float* rows, std::int64_t n_row, std::int64_t depth, float* packed) noexcept)
// One panel of 1 ≤ n_slice ≤ columns slices, missing columns repeat the last: packed 2·n_pixel × columns, norms = |S|²
// n_pixel × columns; both aligned to 64 bytes.
PYCRYO_KERNEL(void compare_pack_panel(const float* slices, std::int64_t n_slice, std::int64_t n_pixel, float* packed,
                                      float* norms) noexcept)
// out[panel][row][column] = Σ_depth rows·columns; columns and out aligned to 64 bytes.
PYCRYO_KERNEL(void compare_multiply(const float* rows, std::int64_t n_row, const float* columns, std::int64_t n_panel,
                                    std::int64_t depth, float* out) noexcept)
// out[panel][image][column] = Σ_pixel W·|S|² of images whose weights lie anywhere.
PYCRYO_KERNEL(void compare_multiply_norms(const float* const* weights, std::int64_t n_image, const float* norms,
                                          std::int64_t n_panel, std::int64_t n_pixel, float* out) noexcept)
// Updates the log-sum-exp of one image with its scores in a block and lists the candidates: keys that sort by score,
// then by descending index: (ordered bits of the score) << 32 | ~(column·n_shift + shift). Returns their number.
PYCRYO_KERNEL(std::int64_t compare_finish(const pycryo::CompareImage& image, pycryo::CompareState& state,
                                          std::uint64_t* candidates) noexcept)
// Stores the scores of n_slice columns of one image: out[shift·out_stride + column].
PYCRYO_KERNEL(void compare_store(const pycryo::CompareImage& image, std::int64_t n_slice, float* out,
                                 std::int64_t out_stride) noexcept)
