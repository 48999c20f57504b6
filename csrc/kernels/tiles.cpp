#include "pycryo/tiles.hpp"

#include "trigonometry.hpp"

namespace pycryo::PYCRYO_ISA {
namespace {

constexpr std::int32_t capacity = 256;  // samples of an entry at a time; what is kept of them stays in the L1 cache
constexpr std::int32_t lanes = 16;      // loops over samples run to a multiple
constexpr std::int32_t most_pieces = 64;
constexpr std::int32_t table_width = tile_width + 2;
constexpr std::int32_t nowhere = table_width * table_width;  // cell of the samples that do not touch the tile

// Two neighbours along x.
typedef double Pair __attribute__((vector_size(64), aligned(32), may_alias));
typedef double Four __attribute__((vector_size(32), may_alias));
typedef float Four32 __attribute__((vector_size(16), may_alias));

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
  alignas(64) float value[capacity][4];  // real part, imaginary part, weight, 0
};

// a·b + c, rounded in the same way in whatever loop it is.
inline double fused(double a, double b, double c) noexcept {
#ifdef __FMA__
  return __builtin_fma(a, b, c);
#else
  return a * b + c;
#endif
}

inline double smaller(double a, double b) noexcept { return a < b ? a : b; }
inline double larger(double a, double b) noexcept { return a > b ? a : b; }
inline std::int32_t smaller(std::int32_t a, std::int32_t b) noexcept { return a < b ? a : b; }

// A patch: its entry, and the tile seen from there.
class Cut {
 public:
  Cut(const TileSource& source, const Tile& tile, const Patch& patch) noexcept
      : runs_(source.runs), entry_(source.entries[patch.entry]), sign_(patch.is_mate ? -1 : 1) {
    constexpr double slack = 1e-6;  // far more than the rounding of positions
    double v = 0, reach = entry_.slack;
    for (int axis = 0; axis < 3; ++axis) {
      const double origin = axis == 0 ? 0 : source.radius;
      low_[axis] = tile.first[axis] - 1 - origin - slack;
      high_[axis] = tile.first[axis] + tile.count[axis] - origin + slack;
      if (axis == 0) low_[axis] = larger(low_[axis], -slack);
      const double across = sign_ * entry_.across[1][axis];
      v += 0.5 * across * (low_[axis] + high_[axis]);
      reach += 0.5 * (across < 0 ? -across : across) * (high_[axis] - low_[axis]);
      // A row parallel to the faces is inside for all or for no kx: any steep slope tells which.
      const double slope = sign_ * entry_.along[0][axis];
      inverse_[axis] = slope == 0 ? 1e30 : 1 / slope;
      if (inverse_[axis] < 0) {
        near_[axis] = high_[axis], far_[axis] = low_[axis];
      } else {
        near_[axis] = low_[axis], far_[axis] = high_[axis];
      }
    }
    const double begin = larger(v - reach, runs_.ky_min) - runs_.ky_min;
    const double end = smaller(v + reach, runs_.ky_max) - runs_.ky_min;
    if (begin <= end) {
      run_ = runs_.first_at[static_cast<std::int32_t>(begin)];
      end_ = runs_.first_at[static_cast<std::int32_t>(end) + 1];
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

  const PlacedImage& entry() const noexcept { return entry_; }
  double sign() const noexcept { return sign_; }

 private:
  void list(std::int32_t n, Pieces& pieces) noexcept {
    const double *ky = runs_.ky + run_, *kx_first = runs_.kx_first + run_, *kx_last = runs_.kx_last + run_;
    std::int32_t first[run_lanes], count[run_lanes];
#pragma omp simd
    for (std::int32_t j = 0; j < run_lanes; ++j) {
      double begin = kx_first[j], end = kx_last[j];
      for (int axis = 0; axis < 3; ++axis) {
        const double middle = sign_ * entry_.along[1][axis] * ky[j];
        begin = larger(begin, (near_[axis] - middle) * inverse_[axis]);
        end = smaller(end, (far_[axis] - middle) * inverse_[axis]);
      }
      // Counted from the ends of the run, so that truncation rounds inwards.
      const double before = smaller(begin - kx_first[j], 1e9), after = smaller(kx_last[j] - end, 1e9);
      const std::int32_t skip = static_cast<std::int32_t>(before), left = static_cast<std::int32_t>(after);
      first[j] = skip + (skip < before);
      count[j] = static_cast<std::int32_t>(kx_last[j] - kx_first[j]) + 1 - first[j] - left - (left < after);
    }
    for (std::int32_t j = 0; j < n; ++j) {
      pieces.piece[pieces.n] = {runs_.pixel[run_ + j] + first[j], count[j], static_cast<float>(kx_first[j] + first[j]),
                                static_cast<float>(ky[j])};
      pieces.n += count[j] > 0;
    }
  }

  const Runs& runs_;
  const PlacedImage& entry_;
  double sign_;
  double low_[3], high_[3];
  double near_[3], far_[3], inverse_[3];
  std::int32_t run_ = 0, end_ = 0;
};

inline void copy_lanes(const float* from, float* to) noexcept { __builtin_memcpy(to, from, run_lanes * sizeof(float)); }

// Appends a piece, and garbage up to a multiple of run_lanes.
inline void append(const PlacedImage& entry, std::int64_t n_pixel, const Piece& piece, Samples& to) noexcept {
  const float *re = entry.re + piece.first, *im = entry.im + piece.first, *weight = entry.weight + piece.first;
  const std::int32_t rounded = (piece.count + run_lanes - 1) / run_lanes * run_lanes, at = to.n;
  for (std::int32_t k = 0; k < rounded; k += run_lanes)
    for (std::int32_t lane = 0; lane < run_lanes; ++lane) {
      to.u[at + k + lane] = piece.u + static_cast<float>(k + lane);
      to.v[at + k + lane] = piece.v;
    }
  if (piece.first + rounded <= n_pixel) {
    for (std::int32_t k = 0; k < rounded; k += run_lanes) {
      copy_lanes(re + k, to.re + at + k);
      copy_lanes(im + k, to.im + at + k);
      copy_lanes(weight + k, to.weight + at + k);
    }
  } else {
    for (std::int32_t k = 0; k < piece.count; ++k) {
      to.re[at + k] = re[k];
      to.im[at + k] = im[k];
      to.weight[at + k] = weight[k];
    }
  }
  to.n += piece.count;
}

inline void locate(const PlacedImage& entry, const Tile& tile, std::int32_t radius, bool is_mate,
                   const Samples& __restrict in, Located& __restrict out) noexcept {
  const double ax = entry.along[0][0], ay = entry.along[0][1], az = entry.along[0][2];
  const double bx = entry.along[1][0], by = entry.along[1][1], bz = entry.along[1][2];
  const double turn_x = entry.turns[0], turn_y = entry.turns[1];
  const double origin = radius, reach = (radius - 0.5) * (radius - 0.5), sign = is_mate ? -1 : 1;
  const float share = entry.share, conjugate = is_mate ? -1 : 1;
  const std::int32_t first_x = tile.first[0] - 1, first_y = tile.first[1] - 1, first_z = tile.first[2] - 1;
  const std::int32_t count_x = tile.count[0] + 1, count_y = tile.count[1] + 1, count_z = tile.count[2] + 1;
  const std::int32_t zero_fits = !is_mate;
  const std::int32_t n = (in.n + lanes - 1) / lanes * lanes;
#pragma omp simd
  for (std::int32_t k = 0; k < n; ++k) {
    const double u = in.u[k], v = in.v[k];
    const double x = sign * fused(u, ax, v * bx), y = sign * fused(u, ay, v * by), z = sign * fused(u, az, v * bz);
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
    out.value[k][0] = share * (in.re[k] * phase.cosine - in.im[k] * phase.sine);
    out.value[k][1] = share * (in.re[k] * phase.sine + in.im[k] * phase.cosine) * conjugate;
    out.value[k][2] = share * in.weight[k];
    out.value[k][3] = 0;
  }
}

// Row of the tile for each row of cells, with one more on either side.
struct RowTable {
  std::int32_t row[nowhere + table_width + 2];
};

inline void fill_table(const Tile& tile, RowTable& table) noexcept {
  for (std::int32_t& row : table.row) row = tile_rows - 1;
  for (std::int32_t y = 0; y < tile.count[1]; ++y)
    for (std::int32_t z = 0; z < tile.count[2]; ++z) table.row[(y + 1) * table_width + z + 1] = y * tile_width + z;
}

constexpr std::int32_t corner[4] = {0, 1, table_width, table_width + 1};

inline void add(const Located& samples, std::int32_t n, const RowTable& table, const Quanta& quanta,
                double (*__restrict voxel)[4]) noexcept {
  // Adding and subtracting 1.5·2^52 quanta leaves a multiple of the quantum.
  const double a = 0x1.8p52 * quanta.value, b = 0x1.8p52 * quanta.weight;
  const Pair big = {a, a, b, 0, a, a, b, 0}, slope = {-1, -1, -1, -1, 1, 1, 1, 1}, lower = {1, 1, 1, 1, 0, 0, 0, 0};
  for (std::int32_t i = 0; i < n; ++i) {
    const Four value = __builtin_convertvector(*reinterpret_cast<const Four32*>(samples.value[i]), Four);
    const Pair both = {value[0], value[1], value[2], value[3], value[0], value[1], value[2], value[3]};
    const Pair along_x = both * (slope * samples.upper[i] + lower);
    const std::int32_t* rows = table.row + samples.cell[i];
    for (int j = 0; j < 4; ++j) {
      Pair& sum = *reinterpret_cast<Pair*>(voxel + std::int64_t{rows[corner[j]]} * tile_row_stride + samples.x[i]);
      sum += (along_x * samples.side[j][i] + big) - big;
    }
  }
}

inline void mark_touched(const Located& samples, std::int32_t n, const RowTable& table,
                         std::uint64_t* touched) noexcept {
  for (std::int32_t i = 0; i < n; ++i)
    for (int j = 0; j < 4; ++j) touched[table.row[samples.cell[i] + corner[j]]] |= std::uint64_t{3} << samples.x[i];
}

}  // namespace

void tile_fill(const TileSource& source, const Tile& tile, const Patch* patches, std::int64_t n, const Quanta& quanta,
               bool mark, const TileSums& sums) noexcept {
  RowTable table;
  fill_table(tile, table);
  Pieces pieces;
  Samples samples{};
  Located located;
  for (std::int64_t p = 0; p < n; ++p) {
    Cut cut(source, tile, patches[p]);
    const auto flush = [&] {
      locate(cut.entry(), tile, source.radius, patches[p].is_mate, samples, located);
      add(located, samples.n, table, quanta, sums.voxel);
      if (mark) mark_touched(located, samples.n, table, sums.touched);
      samples.n = 0;
    };
    while (cut.next(pieces))
      for (std::int32_t i = 0; i < pieces.n; ++i) {
        Piece rest = pieces.piece[i];
        while (rest.count > capacity - samples.n) {
          Piece part = rest;
          part.count = capacity - samples.n;
          append(cut.entry(), source.runs.n_pixel, part, samples);
          flush();
          rest = {rest.first + part.count, rest.count - part.count, rest.u + static_cast<float>(part.count), rest.v};
        }
        append(cut.entry(), source.runs.n_pixel, rest, samples);
      }
    flush();
  }
  for (std::int32_t row = 0; row < tile_rows; ++row)
    for (double& part : sums.voxel[row * tile_row_stride + tile.count[0] + 1]) part = 0;
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
