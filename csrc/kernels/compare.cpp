#include "pycryo/compare.hpp"

#include <cfloat>
#include <utility>

#include "shuffle.hpp"

#if defined(__SSE2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace pycryo::PYCRYO_ISA {
namespace {

// A tile holds max_rows × n_vector accumulators: all registers but those of the operands.
#if defined(PYCRYO_ISA_avx512)
constexpr int lanes = 16, max_rows = 14;
#elif defined(PYCRYO_ISA_avx2)
constexpr int lanes = 8, max_rows = 6;
#elif defined(__aarch64__)
constexpr int lanes = 4, max_rows = 10;  // of 12 rows GCC keeps some in memory
#else
constexpr int lanes = 4, max_rows = 6;
#endif
constexpr int n_vector = 2;
// Rows of a tile of rows that lie anywhere: each takes a pointer register.
constexpr int max_scattered = 6;
// Rows that are left beside full tiles: so few are multiplied with two panels at a time, as one has too few sums.
#if defined(PYCRYO_ISA_avx2)
constexpr int max_paired = 3;
#else
constexpr int max_paired = 0;
#endif
constexpr int columns = lanes * n_vector;
static_assert(cell_slices % columns == 0);
// A panel's depth block (columns × max_depth floats) stays in the first-level cache.
constexpr std::int64_t max_depth = 256;
constexpr float negligible = 40;

typedef float Vector __attribute__((vector_size(4 * lanes)));
typedef std::int32_t IntVector __attribute__((vector_size(4 * lanes)));
typedef double DoubleVector __attribute__((vector_size(4 * lanes)));
typedef float Quad __attribute__((vector_size(16)));
typedef float UnalignedQuad __attribute__((vector_size(16), aligned(4)));

inline const Vector& load(const float* p) noexcept { return *reinterpret_cast<const Vector*>(p); }
inline Vector& at(float* p) noexcept { return *reinterpret_cast<Vector*>(p); }

// Part `i` of `n` nearly equal parts of `total` starts here.
inline std::int64_t part(std::int64_t i, std::int64_t n, std::int64_t total) noexcept { return i * total / n; }
inline std::int64_t parts(std::int64_t total, std::int64_t greatest) noexcept {
  return (total + greatest - 1) / greatest;
}
// Rows of the next tile if `n` are left.
inline int next_tile(std::int64_t n) noexcept {
  if (max_paired == 0) return static_cast<int>(n / parts(n, max_rows));
  if (n > max_rows) return n == max_rows + 1 ? max_rows - 2 : max_rows;
  return static_cast<int>(n == max_rows - 1 ? n - 2 : n);
}

inline std::int64_t depth_blocks(std::int64_t depth) noexcept { return depth ? parts(depth, max_depth) : 1; }

// One bit per lane with a >= limit.
inline unsigned at_least(Vector a, float limit) noexcept {
#if defined(PYCRYO_ISA_avx512)
  return _mm512_cmp_ps_mask(a, _mm512_set1_ps(limit), _CMP_GE_OQ);
#elif defined(PYCRYO_ISA_avx2)
  return static_cast<unsigned>(_mm256_movemask_ps(_mm256_cmp_ps(a, _mm256_set1_ps(limit), _CMP_GE_OQ)));
#elif defined(__SSE2__)
  return static_cast<unsigned>(_mm_movemask_ps(_mm_cmpge_ps(a, _mm_set1_ps(limit))));
#elif defined(__aarch64__)
  return vaddvq_u32(vcgeq_f32(a, vdupq_n_f32(limit)) & uint32x4_t{1, 2, 4, 8});
#else
  unsigned bits = 0;
  for (int i = 0; i < lanes; ++i) bits |= static_cast<unsigned>(a[i] >= limit) << i;
  return bits;
#endif
}

inline Vector greater(Vector a, Vector b) noexcept {
#if defined(PYCRYO_ISA_avx512)
  return _mm512_maskz_max_ps(0xffff, a, b);  // GCC warns of the one without a mask
#elif defined(PYCRYO_ISA_avx2)
  return _mm256_max_ps(a, b);
#elif defined(__SSE2__)
  return _mm_max_ps(a, b);
#else
  return a > b ? a : b;
#endif
}

// exp(x) for x ≤ 0, relative error < 2e-7; below -87 it stays at exp(-87).
// x = n·ln2 + r, |r| ≤ ½ ln2: 1 + r + r²·(the polynomial with the least greatest error, 1.1e-7), scaled by the exponent
// bits.
inline Vector exp_negative(Vector x) noexcept {
  constexpr float round_magic = 12582912.0f;  // 1.5·2²³
  x = greater(x, Vector{} - 87.0f);
  const Vector shifted = x * 1.44269504f + round_magic;
  const Vector n = shifted - round_magic;
  const Vector r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  Vector y = r * 0.008312502f + 0.04189033f;
  y = y * r + 0.16667116f;
  y = y * r + 0.4999923f;
  y = y * r + 1.0f;
  y = y * r + 1.0f;
  return (Vector)((IntVector)y + ((IntVector)shifted << 23));
}

// Adds the halves of a vector in double precision.
inline void add_halves(Vector a, DoubleVector& low, DoubleVector& high) noexcept {
#if defined(PYCRYO_ISA_avx512)
  low += _mm512_maskz_cvtps_pd(0xff, _mm512_maskz_extractf32x8_ps(0xff, a, 0));
  high += _mm512_maskz_cvtps_pd(0xff, _mm512_maskz_extractf32x8_ps(0xff, a, 1));
#elif defined(PYCRYO_ISA_avx2)
  low += _mm256_cvtps_pd(_mm256_castps256_ps128(a));
  high += _mm256_cvtps_pd(_mm256_extractf128_ps(a, 1));
#elif defined(__SSE2__)
  low += _mm_cvtps_pd(a);
  high += _mm_cvtps_pd(_mm_movehl_ps(a, a));
#else
  for (int i = 0; i < lanes / 2; ++i) {
    low[i] += a[i];
    high[i] += a[lanes / 2 + i];
  }
#endif
}

// A tile of packed rows, and one of rows that lie anywhere. Packed rows of one image are fetched 4 KiB ahead: with 21
// shifts, 1000 pixels and a tenth of the cells active this took `compare` from 55 to 90 % of SGEMM.
template <int rows>
struct PackedRows {
  const float* a;
  float operator()(std::int64_t k, int r) const noexcept { return a[k * rows + r]; }
  void fetch_ahead(std::int64_t k) const noexcept { __builtin_prefetch(a + k * rows + 1024, 0, 2); }
};

template <int rows>
struct ScatteredRows {
  const float* a[rows];
  float operator()(std::int64_t k, int r) const noexcept { return a[r][k]; }
  void fetch_ahead(std::int64_t) const noexcept {}
};

// C (rows × columns) = or += A (rows × depth) · B (depth × columns).
template <int rows, class Rows>
inline void multiply_tile(const Rows& a, const float* __restrict b, std::int64_t depth, bool add,
                          float* __restrict c) noexcept {
  Vector sum[rows][n_vector] = {};
  for (std::int64_t k = 0; k < depth; ++k, b += columns) {
    a.fetch_ahead(k);
    for (int i = 0; i < columns; i += 16) __builtin_prefetch(b + 16 * columns + i);
    const Vector b0 = load(b), b1 = load(b + lanes);
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r) {
      const Vector x = a(k, r) - Vector{};
      sum[r][0] += x * b0;
      sum[r][1] += x * b1;
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r, c += columns) {
    at(c) = add ? at(c) + sum[r][0] : sum[r][0];
    at(c + lanes) = add ? at(c + lanes) + sum[r][1] : sum[r][1];
  }
}

// Few rows with two panels, whose depths begin `b_stride` and whose products `c_stride` floats apart.
template <int rows>
void multiply_pair(const float* __restrict a, const float* __restrict b, std::int64_t b_stride, std::int64_t depth,
                   bool add, float* __restrict c, std::int64_t c_stride) noexcept {
  Vector sum[rows][2 * n_vector] = {};
  for (std::int64_t k = 0; k < depth; ++k, b += columns) {
    __builtin_prefetch(a + k * rows + 1024, 0, 2);
    // One vector of columns at a time: there are no registers for all.
    Vector x[rows];
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r) x[r] = a[k * rows + r] - Vector{};
#pragma GCC unroll 8
    for (int v = 0; v < 2 * n_vector; ++v) {
      const Vector column = load(v < n_vector ? b + v * lanes : b + b_stride + (v - n_vector) * lanes);
#pragma GCC unroll 16
      for (int r = 0; r < rows; ++r) sum[r][v] += x[r] * column;
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r, c += columns)
#pragma GCC unroll 8
    for (int v = 0; v < n_vector; ++v) {
      float* const there = c + c_stride + v * lanes;
      at(c + v * lanes) = add ? at(c + v * lanes) + sum[r][v] : sum[r][v];
      at(there) = add ? at(there) + sum[r][n_vector + v] : sum[r][n_vector + v];
    }
}

template <int rows>
void multiply_packed(const float* a, const float* b, std::int64_t depth, bool add, float* c) noexcept {
  multiply_tile<rows>(PackedRows<rows>{a}, b, depth, add, c);
}

template <int rows>
void multiply_scattered(const float* const* a, std::int64_t k0, const float* b, std::int64_t depth, bool add,
                        float* c) noexcept {
  ScatteredRows<rows> source;
  for (int r = 0; r < rows; ++r) source.a[r] = a[r] + k0;
  multiply_tile<rows>(source, b, depth, add, c);
}

template <int... rows>
constexpr auto packed_tile(std::int64_t n, std::integer_sequence<int, rows...>) noexcept {
  constexpr decltype(&multiply_packed<1>) tiles[] = {&multiply_packed<rows + 1>...};
  return tiles[n - 1];
}

template <int... rows>
constexpr auto paired_tile(int n, std::integer_sequence<int, rows...>) noexcept {
  constexpr decltype(&multiply_pair<1>) tiles[] = {&multiply_pair<rows + 1>..., nullptr};
  return tiles[n - 1];
}

template <int... rows>
constexpr auto scattered_tile(std::int64_t n, std::integer_sequence<int, rows...>) noexcept {
  constexpr decltype(&multiply_scattered<1>) tiles[] = {&multiply_scattered<rows + 1>...};
  return tiles[n - 1];
}

inline void transpose(Quad& a, Quad& b, Quad& c, Quad& d) noexcept {
  const Quad ab0 = shuffle<0, 4, 1, 5>(a, b), ab1 = shuffle<2, 6, 3, 7>(a, b);
  const Quad cd0 = shuffle<0, 4, 1, 5>(c, d), cd1 = shuffle<2, 6, 3, 7>(c, d);
  a = shuffle<0, 1, 4, 5>(ab0, cd0);
  b = shuffle<2, 3, 6, 7>(ab0, cd0);
  c = shuffle<0, 1, 4, 5>(ab1, cd1);
  d = shuffle<2, 3, 6, 7>(ab1, cd1);
}

// Stores four columns of `n` ≤ 4 depths.
inline void store_transposed(Quad a, Quad b, Quad c, Quad d, std::int64_t n, float* out) noexcept {
  transpose(a, b, c, d);
  const Quad rows[4] = {a, b, c, d};
  for (std::int64_t k = 0; k < n; ++k) *reinterpret_cast<Quad*>(out + k * columns) = rows[k];
}

// Integers that order like the scores; -0 counts as 0.
inline std::uint64_t ordered_bits(float score) noexcept {
  const float value = score + 0.0f;
  std::uint32_t bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// Shifts whose scores of a panel are looked at together.
constexpr std::int64_t most_runs = 32;

// The scores of one panel and shift of an image.
struct Run {
  Vector score[n_vector];
};

inline void slice_bias(const CompareImage& image, std::int64_t panel, Vector* bias) noexcept {
  for (int v = 0; v < n_vector; ++v)
    bias[v] = load(image.prior_slice + panel * columns + v * lanes) -
              0.5f * load(image.norms + panel * image.norm_stride + v * lanes);
}

inline Run run_scores(const CompareImage& image, std::int64_t panel, std::int64_t shift, const Vector* bias) noexcept {
  const float* products = image.products + panel * image.panel_stride + shift * columns;
  const float prior = image.prior_shift ? image.prior_shift[shift] : 0.0f;
  Run run;
  for (int v = 0; v < n_vector; ++v) run.score[v] = (load(products + v * lanes) + bias[v]) + prior;
  return run;
}

inline float greatest(Vector a) noexcept {
  float value = a[0];
  for (int i = 1; i < lanes; ++i) value = a[i] > value ? a[i] : value;
  return value;
}

// Runs of a panel with a score that may count.
struct Kept {
  std::int64_t n, n_with;
  Run run[most_runs];
  std::uint32_t shift[most_runs];           // of each of them
  std::uint32_t with_candidate[most_runs];  // n_with of them have a score at or above the threshold
  Vector greatest;                          // of their scores
};

// Keeps the runs of shifts `first` ... that reach the threshold or `cut`. Without a branch for what changes from run to
// run.
inline void keep_runs(const CompareImage& image, std::int64_t panel, std::int64_t first, const Vector* bias,
                      float threshold, float cut, Kept& kept) noexcept {
  const std::int64_t end = image.n_shift - first < most_runs ? image.n_shift : first + most_runs;
  const float least = threshold < cut ? threshold : cut;
  std::int64_t n = 0, n_with = 0;
  Vector greatest_scores = Vector{} - FLT_MAX;
  for (std::int64_t shift = first; shift < end; ++shift) {
    const Run run = run_scores(image, panel, shift, bias);
    const Vector larger = greater(run.score[0], run.score[1]);
    if (!at_least(larger, least)) continue;
    greatest_scores = greater(larger, greatest_scores);
    for (int v = 0; v < n_vector; ++v) kept.run[n].score[v] = run.score[v];  // a whole Run goes in pieces
    kept.shift[n] = static_cast<std::uint32_t>(shift);
    kept.with_candidate[n_with] = static_cast<std::uint32_t>(n++);
    n_with += at_least(larger, threshold) != 0;
  }
  kept.n = n;
  kept.n_with = n_with;
  kept.greatest = greatest_scores;
}

// Appends the keys of the scores at or above the threshold, whose columns count from `first_column`; returns the end.
inline std::uint64_t* list_candidates(const Kept& kept, std::int64_t first_column, std::int64_t n_shift,
                                      float threshold, std::uint64_t* next) noexcept {
  for (std::int64_t i = 0; i < kept.n_with; ++i) {
    const std::uint32_t which = kept.with_candidate[i];
    for (int v = 0; v < n_vector; ++v)
      for (unsigned bits = at_least(kept.run[which].score[v], threshold); bits; bits &= bits - 1) {
        const int lane = __builtin_ctz(bits);
        const std::uint64_t column = static_cast<std::uint64_t>(first_column + v * lanes + lane);
        const std::uint32_t index =
            static_cast<std::uint32_t>(column * static_cast<std::uint64_t>(n_shift)) + kept.shift[which];
        *next++ = ordered_bits(kept.run[which].score[v][lane]) << 32 | static_cast<std::uint32_t>(~index);
      }
  }
  return next;
}

// sum += exp(score - max) of n runs; four exponentials are added in single precision.
inline void add_exps(const Run* runs, std::int64_t n, float max, DoubleVector* sum) noexcept {
  const auto exps = [max](const Run& run) {
    return exp_negative(run.score[0] - max) + exp_negative(run.score[1] - max);
  };
  // Apart from the loop below, whose sums would find no register here.
  Vector four[most_runs / 2];
  for (std::int64_t i = 0; i < n / 2; ++i) four[i] = exps(runs[2 * i]) + exps(runs[2 * i + 1]);
  if (n % 2) four[n / 2] = exps(runs[n - 1]);
  DoubleVector low = {}, high = {};
  for (std::int64_t i = 0; i < (n + 1) / 2; ++i) add_halves(four[i], low, high);
  sum[0] += low;
  sum[1] += high;
}

}  // namespace

int compare_panel_columns() noexcept { return columns; }

void compare_pack_rows(const float* __restrict rows, std::int64_t n_row, std::int64_t depth,
                       float* __restrict packed) noexcept {
  const std::int64_t n_block = depth_blocks(depth);
  for (std::int64_t block = 0; block < n_block; ++block) {
    const std::int64_t k0 = part(block, n_block, depth), k1 = part(block + 1, n_block, depth);
    for (std::int64_t r0 = 0, n = 0; r0 < n_row; r0 += n) {
      n = next_tile(n_row - r0);
      for (std::int64_t k = k0; k < k1; ++k)
        for (std::int64_t r = r0; r < r0 + n; ++r) *packed++ = rows[r * depth + k];
    }
  }
}

void compare_pack_panel(const float* __restrict slices, std::int64_t n_slice, std::int64_t n_pixel,
                        float* __restrict packed, float* __restrict norms) noexcept {
  for (std::int64_t column = 0; column < columns; column += 4) {
    const float* source[4];
    for (std::int64_t i = 0; i < 4; ++i)
      source[i] = slices + (column + i < n_slice ? column + i : n_slice - 1) * 2 * n_pixel;
    for (std::int64_t k = 0; k < n_pixel; k += 4) {
      const std::int64_t n = n_pixel - k < 4 ? n_pixel - k : 4;
      Quad re[4], im[4], norm[4];
      for (int i = 0; i < 4; ++i) {
        const float *from_re = source[i] + k, *from_im = from_re + n_pixel;
        float end_re[4] = {}, end_im[4] = {};
        if (n < 4) {
          for (std::int64_t j = 0; j < n; ++j) end_re[j] = from_re[j], end_im[j] = from_im[j];
          from_re = end_re, from_im = end_im;
        }
        re[i] = *reinterpret_cast<const UnalignedQuad*>(from_re);
        im[i] = *reinterpret_cast<const UnalignedQuad*>(from_im);
        norm[i] = re[i] * re[i] + im[i] * im[i];
      }
      store_transposed(re[0], re[1], re[2], re[3], n, packed + k * columns + column);
      store_transposed(im[0], im[1], im[2], im[3], n, packed + (n_pixel + k) * columns + column);
      store_transposed(norm[0], norm[1], norm[2], norm[3], n, norms + k * columns + column);
    }
  }
}

void compare_multiply(const float* rows, std::int64_t n_row, const float* b, std::int64_t n_panel, std::int64_t depth,
                      float* out) noexcept {
  const std::int64_t n_block = depth_blocks(depth), out_stride = n_row * columns;
  for (std::int64_t block = 0; block < n_block; ++block) {
    const std::int64_t k0 = part(block, n_block, depth), n_depth = part(block + 1, n_block, depth) - k0;
    const float *const a = rows + n_row * k0, *const b0 = b + k0 * columns;
    for (std::int64_t panel = 0; panel < n_panel; ++panel) {
      const float* const from = b0 + panel * depth * columns;
      float* const to = out + panel * out_stride;
      const bool is_paired = panel % 2 || panel + 1 < n_panel;
      for (std::int64_t r0 = 0, n = 0; r0 < n_row; r0 += n) {
        n = next_tile(n_row - r0);
        if (n > max_paired || !is_paired)
          packed_tile(n, std::make_integer_sequence<int, max_rows>{})(a + r0 * n_depth, from, n_depth, block > 0,
                                                                      to + r0 * columns);
        else if (panel % 2)
          paired_tile(n, std::make_integer_sequence<int, max_paired>{})(a + r0 * n_depth, from - depth * columns,
                                                                        depth * columns, n_depth, block > 0,
                                                                        to - out_stride + r0 * columns, out_stride);
      }
    }
  }
}

void compare_multiply_norms(const float* const* weights, std::int64_t n_image, const float* norms, std::int64_t n_panel,
                            std::int64_t n_pixel, float* out) noexcept {
  const std::int64_t n_block = depth_blocks(n_pixel);
  for (std::int64_t block = 0; block < n_block; ++block) {
    const std::int64_t k0 = part(block, n_block, n_pixel), n_depth = part(block + 1, n_block, n_pixel) - k0;
    for (std::int64_t panel = 0; panel < n_panel; ++panel)
      for (std::int64_t i0 = 0, n = 0; i0 < n_image; i0 += n) {
        n = (n_image - i0) / parts(n_image - i0, max_scattered);
        const auto multiply = scattered_tile(n, std::make_integer_sequence<int, max_scattered>{});
        multiply(weights + i0, k0, norms + (panel * n_pixel + k0) * columns, n_depth, block > 0,
                 out + (panel * n_image + i0) * columns);
      }
  }
}

std::int64_t compare_finish(const CompareImage& image, CompareState& state, std::uint64_t* candidates) noexcept {
  std::uint64_t* next = candidates;
  float max = state.max;
  DoubleVector sum[2] = {};
  sum[0][0] = state.sum;
  Kept kept;
  for (std::int64_t panel = 0; panel < image.n_panel; ++panel) {
    Vector bias[n_vector];
    slice_bias(image, panel, bias);
    for (std::int64_t first = 0; first < image.n_shift; first += most_runs) {
      const float cut = max - negligible > -FLT_MAX ? max - negligible : -FLT_MAX;
      keep_runs(image, panel, first, bias, state.threshold, cut, kept);
      if (kept.n == 0) continue;
      next = list_candidates(kept, panel * columns, image.n_shift, state.threshold, next);
      const float new_max = at_least(kept.greatest, max) ? greatest(kept.greatest) : max;
      if (new_max > max) {
        const double scale = __builtin_exp(static_cast<double>(max) - new_max);
        sum[0] *= scale;
        sum[1] *= scale;
        max = new_max;
      }
      add_exps(kept.run, kept.n, max, sum);
    }
  }
  double total = 0;
  for (const DoubleVector& half : sum)
    for (int i = 0; i < lanes / 2; ++i) total += half[i];
  state.max = max;
  state.sum = total;
  return next - candidates;
}

void compare_store(const CompareImage& image, std::int64_t n_slice, float* out, std::int64_t out_stride) noexcept {
  for (std::int64_t panel = 0; panel < image.n_panel; ++panel) {
    const std::int64_t first = panel * columns, n = n_slice - first < columns ? n_slice - first : columns;
    Vector bias[n_vector];
    slice_bias(image, panel, bias);
    for (std::int64_t shift = 0; shift < image.n_shift; ++shift) {
      const Run run = run_scores(image, panel, shift, bias);
      __builtin_memcpy(out + shift * out_stride + first, run.score, static_cast<std::size_t>(n) * sizeof(float));
    }
  }
}

}  // namespace pycryo::PYCRYO_ISA
