#include "pycryo/tiles.hpp"

#include "lanes.hpp"
#include "shuffle.hpp"
#include "trigonometry.hpp"

namespace pycryo::PYCRYO_ISA {
namespace {

constexpr std::int32_t capacity = 256;  // samples of an entry at a time; what is kept of them stays in the L1 cache
constexpr std::int32_t lanes = 16;      // loops over samples run to a multiple
constexpr std::int64_t voxel_bytes = 4 * sizeof(double);
constexpr std::int32_t most_pieces = 64;
constexpr std::int32_t table_width = tile_width + 2;
constexpr std::int32_t nowhere = table_width * table_width;  // cell of the samples that do not touch the tile

typedef double Voxel __attribute__((vector_size(32), may_alias));
typedef float Floats8 __attribute__((vector_size(32), aligned(4), may_alias));
typedef float Four __attribute__((vector_size(16), may_alias));

// Samples first ... first + count - 1 of an image, of one ky, kx = u ...
struct Piece {
  std::int32_t first, count;
  float u, v;
};

struct Pieces {
  Piece piece[most_pieces + run_lanes];
  std::int32_t n;
};

// Samples of an entry, packed.
struct Samples {
  std::int32_t n = 0;
  alignas(64) float u[capacity + lanes], v[capacity + lanes];
  alignas(64) float re[capacity + lanes], im[capacity + lanes], weight[capacity + lanes];
};

// Samples on their way to the voxels. `cell` is the place in the table of rows of the lowest neighbour's row, x the
// neighbour's place in it; `side` are the shares of the rows (y, z), (y, z+1), (y+1, z), (y+1, z+1).
struct Located {
  alignas(64) std::int32_t cell[capacity], x[capacity];
  alignas(64) double upper[capacity];
  alignas(64) double side[4][capacity];
  alignas(64) float re[capacity], im[capacity], weight[capacity];
  alignas(64) float value[capacity][4];  // real part, imaginary part, weight, 0
};

// a·b + c, rounded in the same way in whatever loop it is.
inline double fused(double a, double b, double c) noexcept {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  return __builtin_fma(a, b, c);
#else
  return a * b + c;
#endif
}

inline double smaller(double a, double b) noexcept { return a < b ? a : b; }
inline double larger(double a, double b) noexcept { return a > b ? a : b; }
inline std::int32_t smaller(std::int32_t a, std::int32_t b) noexcept { return a < b ? a : b; }

// Numbers in memory as vectors; by reference, as wide vectors cannot be returned with every instruction set.
inline const Floats8& eight_at(const float* from) noexcept { return *reinterpret_cast<const Floats8*>(from); }
inline Floats8& eight_at(float* from) noexcept { return *reinterpret_cast<Floats8*>(from); }
inline Four& four_at(float* from) noexcept { return *reinterpret_cast<Four*>(from); }

// Of a tile, along each axis: the row of ky is inside while kx is from (near - middle·ky)·inverse to
// (far - middle·ky)·inverse.
struct Sides {
  double near[3], far[3], middle[3], inverse[3];
};

// What of some rows is inside: samples that are skipped and that follow, and the place of the first of these.
struct Rows {
  alignas(32) std::int32_t skip[run_lanes], count[run_lanes];
  alignas(32) float u[run_lanes], v[run_lanes];
};

inline void cut_rows(const double* __restrict ky, const double* __restrict kx_first, const double* __restrict kx_last,
                     const Sides& sides, Rows& __restrict rows) noexcept {
  const Sides of = sides;  // a copy: `rows` cannot change it
#pragma omp simd
  for (std::int32_t j = 0; j < run_lanes; ++j) {
    const double v = ky[j], first = kx_first[j], last = kx_last[j], n = last - first + 1;
    // Counted from the ends of the row, so that truncation rounds inwards. With other limits in another order GCC makes
    // a loop with jumps of it.
    const double before = smaller(larger(larger((of.near[0] - of.middle[0] * v) * of.inverse[0] - first,
                                                (of.near[1] - of.middle[1] * v) * of.inverse[1] - first),
                                         larger((of.near[2] - of.middle[2] * v) * of.inverse[2] - first, 0)),
                                  n);
    const double after = smaller(larger(larger(last - (of.far[0] - of.middle[0] * v) * of.inverse[0],
                                               last - (of.far[1] - of.middle[1] * v) * of.inverse[1]),
                                        larger(last - (of.far[2] - of.middle[2] * v) * of.inverse[2], 0)),
                                 n);
    const std::int32_t whole_before = static_cast<std::int32_t>(before), whole_after = static_cast<std::int32_t>(after);
    const std::int32_t skip = whole_before + (whole_before < before), rest = whole_after + (whole_after < after);
    rows.skip[j] = skip;
    rows.count[j] = static_cast<std::int32_t>(n) - skip - rest;
    rows.u[j] = static_cast<float>(first + skip);
    rows.v[j] = static_cast<float>(v);
  }
}

// A patch: its entry, and the tile seen from there.
class Cut {
 public:
  Cut(const TileSource& source, const Tile& tile, const Patch& patch) noexcept
      : runs_(&source.runs), entry_(&source.entries[patch.entry]), sign_(patch.is_mate ? -1 : 1) {
    constexpr double slack = 1e-6;  // far more than the rounding of positions
    double v = 0, reach = entry_->slack;
    for (int axis = 0; axis < 3; ++axis) {
      const double origin = axis == 0 ? 0 : source.radius;
      double low = tile.first[axis] - 1 - origin - slack;
      const double high = tile.first[axis] + tile.count[axis] - origin + slack;
      if (axis == 0) low = larger(low, -slack);
      const double across = sign_ * entry_->across[1][axis], bend = entry_->bend[axis];
      const double rise = (bend < 0 ? -bend : bend) * source.radius * source.radius;
      v += 0.5 * across * (low + high);
      reach += 0.5 * (across < 0 ? -across : across) * (high - low);
      // A row parallel to the faces is inside for all or for no kx: any steep slope tells which.
      sides_.middle[axis] = sign_ * entry_->along[1][axis];
      const double slope = sign_ * entry_->along[0][axis];
      sides_.inverse[axis] = -1e-30 < slope && slope < 1e-30 ? 1e30 : 1 / slope;
      if (sides_.inverse[axis] < 0) {
        sides_.near[axis] = high + rise, sides_.far[axis] = low - rise;
      } else {
        sides_.near[axis] = low - rise, sides_.far[axis] = high + rise;
      }
    }
    const double begin = larger(v - reach, runs_->ky_min) - runs_->ky_min;
    const double end = smaller(v + reach, runs_->ky_max) - runs_->ky_min;
    if (begin <= end) {
      run_ = runs_->first_at[static_cast<std::int32_t>(begin)];
      end_ = runs_->first_at[static_cast<std::int32_t>(end) + 1];
    }
  }

  // Lists the next samples that may touch the tile; false if there are none left.
  bool next(Pieces& pieces) noexcept {
    pieces.n = 0;
    while (run_ < end_ && pieces.n + run_lanes <= most_pieces) {
      list(smaller(run_lanes, end_ - run_), pieces);
      run_ += run_lanes;
    }
    return pieces.n > 0;
  }

  const PlacedImage& entry() const noexcept { return *entry_; }
  bool is_mate() const noexcept { return sign_ < 0; }

 private:
  // n runs from run_ on, as many as there are lanes with those behind them.
  void list(std::int32_t n, Pieces& pieces) noexcept {
    Rows rows;
    cut_rows(runs_->ky + run_, runs_->kx_first + run_, runs_->kx_last + run_, sides_, rows);
    for (std::int32_t j = 0; j < n; ++j) {
      pieces.piece[pieces.n] = {runs_->pixel[run_ + j] + rows.skip[j], rows.count[j], rows.u[j], rows.v[j]};
      pieces.n += rows.count[j] > 0;
    }
  }

  const Runs* runs_;
  const PlacedImage* entry_;
  double sign_;
  Sides sides_;
  std::int32_t run_ = 0, end_ = 0;
};

inline void prefetch(const PlacedImage& entry, std::int32_t sample) noexcept {
  __builtin_prefetch(entry.re + sample);
  __builtin_prefetch(entry.im + sample);
  __builtin_prefetch(entry.weight + sample);
}

inline void prefetch(const PlacedImage& entry, const Pieces& pieces) noexcept {
  constexpr std::int32_t line = 64 / sizeof(float);
  for (std::int32_t i = 0; i < pieces.n; ++i) {
    const std::int32_t first = pieces.piece[i].first, last = first + pieces.piece[i].count - 1;
    for (std::int32_t at = first; at < last; at += line) prefetch(entry, at);
    prefetch(entry, last);
  }
}

// Appends a piece, and garbage up to a multiple of `lanes`: most pieces have no more, and then nothing depends on how
// many.
inline void append(const PlacedImage& entry, std::int64_t n_pixel, const Piece& piece, Samples& to) noexcept {
  const float *re = entry.re + piece.first, *im = entry.im + piece.first, *weight = entry.weight + piece.first;
  const std::int32_t rounded = (piece.count + lanes - 1) / lanes * lanes, at = to.n;
  const std::int32_t n = piece.first + rounded <= n_pixel ? rounded : 0;
  for (std::int32_t k = 0; k < rounded; k += lanes)
    for (std::int32_t lane = 0; lane < lanes; ++lane) {
      to.u[at + k + lane] = piece.u + static_cast<float>(k + lane);
      to.v[at + k + lane] = piece.v;
    }
  for (std::int32_t k = 0; k < n; k += lanes)
    for (std::int32_t half = k; half < k + lanes; half += lanes / 2) {
      const Floats8 a = eight_at(re + half), b = eight_at(im + half), c = eight_at(weight + half);
      eight_at(to.re + at + half) = a;
      eight_at(to.im + at + half) = b;
      eight_at(to.weight + at + half) = c;
    }
  for (std::int32_t k = n; k < piece.count; ++k) {
    to.re[at + k] = re[k];
    to.im[at + k] = im[k];
    to.weight[at + k] = weight[k];
  }
  to.n += piece.count;
}

// Four samples.
inline void interleave(const float* re, const float* im, const float* weight, float (*value)[4]) noexcept {
  const Floats4 a = load4(re), b = load4(im), c = load4(weight), zero = {};
  const Floats4 low = shuffle<0, 4, 1, 5>(a, b), high = shuffle<2, 6, 3, 7>(a, b);
  const Floats4 low_weight = shuffle<0, 4, 1, 5>(c, zero);
  const Floats4 high_weight = shuffle<2, 6, 3, 7>(c, zero);
  four_at(value[0]) = shuffle<0, 1, 4, 5>(low, low_weight);
  four_at(value[1]) = shuffle<2, 3, 6, 7>(low, low_weight);
  four_at(value[2]) = shuffle<0, 1, 4, 5>(high, high_weight);
  four_at(value[3]) = shuffle<2, 3, 6, 7>(high, high_weight);
}

template <bool is_curved>
inline void locate(const PlacedImage& entry, const Tile& tile, std::int32_t radius, bool is_mate,
                   const Samples& __restrict in, Located& __restrict out) noexcept {
  const double ax = entry.along[0][0], ay = entry.along[0][1], az = entry.along[0][2];
  const double bx = entry.along[1][0], by = entry.along[1][1], bz = entry.along[1][2];
  const double turn_x = entry.turns[0], turn_y = entry.turns[1];
  const double origin = radius, reach = (radius - 0.5) * (radius - 0.5), sign = is_mate ? -1 : 1;
  const double bend_x = sign * entry.bend[0], bend_y = sign * entry.bend[1], bend_z = sign * entry.bend[2];
  const float share = entry.share, conjugate = is_mate ? -1 : 1;
  const std::int32_t first_x = tile.first[0] - 1, first_y = tile.first[1] - 1, first_z = tile.first[2] - 1;
  const std::int32_t count_x = tile.count[0] + 1, count_y = tile.count[1] + 1, count_z = tile.count[2] + 1;
  const std::int32_t zero_fits = !is_mate;
  const std::int32_t n = (in.n + lanes - 1) / lanes * lanes;
#pragma omp simd
  for (std::int32_t k = 0; k < n; ++k) {
    const double u = in.u[k], v = in.v[k];
    double x = sign * fused(u, ax, v * bx), y = sign * fused(u, ay, v * by), z = sign * fused(u, az, v * bz);
    if constexpr (is_curved) {
      const double square = fused(x, x, fused(y, y, z * z));
      x = fused(square, bend_x, x), y = fused(square, bend_y, y), z = fused(square, bend_z, z);
    }
    const double qy = y + origin, qz = z + origin;
    const std::int32_t ix = static_cast<std::int32_t>(x);
    const std::int32_t iy = static_cast<std::int32_t>(qy);
    const std::int32_t iz = static_cast<std::int32_t>(qz);
    const double fx = x - ix, fy = qy - iy, fz = qz - iz;
    const std::int32_t cx = ix - first_x, cy = iy - first_y, cz = iz - first_z;
    const std::int32_t inside = fused(x, x, fused(y, y, z * z)) < reach;
    const std::int32_t here = inside & ((x > 0) | (zero_fits & (x == 0))) & (cx >= 0) & (cx < count_x) & (cy >= 0) &
                              (cy < count_y) & (cz >= 0) & (cz < count_z);
    out.cell[k] = nowhere + here * (cy * table_width + cz - nowhere);
    out.x[k] = here * cx;
    out.upper[k] = fx;
    out.side[0][k] = (1 - fy) * (1 - fz);
    out.side[1][k] = (1 - fy) * fz;
    out.side[2][k] = fy * (1 - fz);
    out.side[3][k] = fy * fz;
    const SineCosine phase = sine_cosine(fused(u, turn_x, v * turn_y));
    out.re[k] = share * (in.re[k] * phase.cosine - in.im[k] * phase.sine);
    out.im[k] = share * (in.re[k] * phase.sine + in.im[k] * phase.cosine) * conjugate;
    out.weight[k] = share * in.weight[k];
  }
  for (std::int32_t k = 0; k < n; k += 4) interleave(out.re + k, out.im + k, out.weight + k, out.value + k);
}

// Number and first byte of the tile's row for each row of cells, of which there is one more on either side.
struct RowTable {
  std::int32_t row[nowhere + table_width + 2];
  std::int64_t byte[nowhere + table_width + 2];
};

inline void fill_table(const Tile& tile, RowTable& table) noexcept {
  for (std::int32_t& row : table.row) row = tile_rows - 1;
  for (std::int32_t y = 0; y < tile.count[1]; ++y)
    for (std::int32_t z = 0; z < tile.count[2]; ++z) table.row[(y + 1) * table_width + z + 1] = y * tile_width + z;
  for (std::int32_t cell = 0; cell < nowhere + table_width + 2; ++cell)
    table.byte[cell] = table.row[cell] * (tile_row_stride * voxel_bytes);
}

constexpr std::int32_t corner[4] = {0, 1, table_width, table_width + 1};
constexpr std::int32_t ahead = 8;  // samples between the one whose voxels are asked for and the one that is added

inline void add(const Located& samples, std::int32_t n, const RowTable& table, const Quanta& quanta,
                double (*__restrict voxel)[4]) noexcept {
  // Adding and subtracting 1.5·2^52 quanta leaves a multiple of the quantum.
  const double a = 0x1.8p52 * quanta.value, b = 0x1.8p52 * quanta.weight;
  const Doubles4 big = {a, a, b, 0};
  for (std::int32_t i = 0; i < n; ++i) {
    if (i + ahead < n) {
      const std::int64_t* rows = table.byte + samples.cell[i + ahead];
      const char* first = reinterpret_cast<const char*>(voxel + samples.x[i + ahead]);
      for (int j = 0; j < 4; ++j) __builtin_prefetch(first + rows[corner[j]], 1);
    }
    Doubles4 value;
    widen(load4(samples.value[i]), value);
    const Doubles4 upper = value * samples.upper[i], lower = value - upper;
    const std::int64_t* rows = table.byte + samples.cell[i];
    char* first = reinterpret_cast<char*>(voxel + samples.x[i]);
    for (int j = 0; j < 4; ++j) {
      Voxel* sum = reinterpret_cast<Voxel*>(first + rows[corner[j]]);
      sum[0] += (lower * samples.side[j][i] + big) - big;
      sum[1] += (upper * samples.side[j][i] + big) - big;
    }
  }
}

// Leaves zeros, as they were, in what is outside the tile.
inline void clear_outside(const Tile& tile, const TileSums& sums) noexcept {
  const std::int32_t end = tile.count[0] + 1;
  const std::uint64_t inside = (~std::uint64_t{0} >> (64 - end)) & ~std::uint64_t{1};
  for (std::int32_t row = 0; row < tile_rows; ++row)
    for (double& part : sums.voxel[std::int64_t{row} * tile_row_stride + end]) part = 0;
  if (sums.touched == nullptr) return;
  for (std::int32_t row = 0; row < tile_rows; ++row) sums.touched[row] &= inside;
  sums.touched[tile_rows - 1] = 0;
}

inline void mark_touched(const Located& samples, std::int32_t n, const RowTable& table,
                         std::uint64_t* touched) noexcept {
  for (std::int32_t i = 0; i < n; ++i)
    for (int j = 0; j < 4; ++j) touched[table.row[samples.cell[i] + corner[j]]] |= std::uint64_t{3} << samples.x[i];
}

// Brings samples to the sums of a tile.
class Filler {
 public:
  Filler(const TileSource& source, const Tile& tile, const Quanta& quanta, const TileSums& sums) noexcept
      : source_(source), tile_(tile), quanta_(quanta), sums_(sums) {
    fill_table(tile, table_);
  }

  void append_all(const Cut& cut, const Pieces& pieces) noexcept {
    for (std::int32_t i = 0; i < pieces.n; ++i) {
      Piece rest = pieces.piece[i];
      while (rest.count > capacity - samples_.n) {
        Piece part = rest;
        part.count = capacity - samples_.n;
        append(cut.entry(), source_.runs.n_pixel, part, samples_);
        add_all(cut);
        rest = {rest.first + part.count, rest.count - part.count, rest.u + static_cast<float>(part.count), rest.v};
      }
      append(cut.entry(), source_.runs.n_pixel, rest, samples_);
    }
  }

  void add_all(const Cut& cut) noexcept {
    const auto place = cut.entry().rise > 0 ? locate<true> : locate<false>;
    place(cut.entry(), tile_, source_.radius, cut.is_mate(), samples_, located_);
    add(located_, samples_.n, table_, quanta_, sums_.voxel);
    if (sums_.touched != nullptr) mark_touched(located_, samples_.n, table_, sums_.touched);
    samples_.n = 0;
  }

 private:
  const TileSource& source_;
  const Tile& tile_;
  const Quanta& quanta_;
  const TileSums& sums_;
  RowTable table_;
  Samples samples_{};
  Located located_;
};

}  // namespace

void tile_fill(const TileSource& source, const Tile& tile, const Patch* patches, std::int64_t n, const Quanta& quanta,
               const TileSums& sums) noexcept {
  Filler filler(source, tile, quanta, sums);
  Pieces pieces[2];
  Cut cut(source, tile, patches[0]);
  cut.next(pieces[0]);
  for (std::int64_t p = 0; p < n; ++p) {
    Pieces &now = pieces[p % 2], &coming = pieces[1 - p % 2];
    Cut next(source, tile, patches[p + 1 < n ? p + 1 : p]);
    next.next(coming);
    prefetch(next.entry(), coming);
    do filler.append_all(cut, now);
    while (cut.next(now));
    filler.add_all(cut);
    cut = next;
  }
  clear_outside(tile, sums);
}

std::int64_t tile_samples(const TileSource& source, const Tile& tile, const Patch* patches, std::int64_t n) noexcept {
  std::int64_t total = 0;
  Pieces pieces;
  for (std::int64_t p = 0; p < n; ++p) {
    Cut cut(source, tile, patches[p]);
    while (cut.next(pieces))
      for (std::int32_t i = 0; i < pieces.n; ++i) total += pieces.piece[i].count;
  }
  return total;
}

}  // namespace pycryo::PYCRYO_ISA
