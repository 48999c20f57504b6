#include "pycryo/ctf.hpp"

#include <cstring>
#include <utility>

#include "lanes.hpp"
#include "trigonometry.hpp"

namespace pycryo::PYCRYO_ISA {
namespace {

constexpr double kPerTurn = 0.15915494309189533577;  // of a radian

// Half as many 64-bit fractions of a turn as there are lanes.
typedef std::uint64_t Fractions __attribute__((vector_size(4 * kLanes)));

// Fractions of a turn in 32 bits, whose sums wrap.
typedef std::uint32_t Wrapped __attribute__((vector_size(4 * kLanes)));

// The lanes of a vector of floats lie in two of fractions, so that their high halves are put together within 16 bytes:
// 0, 1, 4, 5 ... and 2, 3, 6, 7 ...
constexpr int lane_of(int part, int i) { return 4 * (i / 2) + i % 2 + 2 * part; }
constexpr int place_of(int lane) { return lane % 4 / 2 * kLanes + lane / 4 * 4 + lane % 2 * 2 + 1; }

template <int... lanes>
inline Ints high_halves(Fractions a, Fractions b, std::integer_sequence<int, lanes...>) {
#ifdef __clang__
  return (Ints)__builtin_shufflevector((Floats)a, (Floats)b, place_of(lanes)...);
#else
  return (Ints)__builtin_shuffle((Floats)a, (Floats)b, Ints{place_of(lanes)...});
#endif
}

inline Ints load(const std::int32_t* from) {
  typedef Ints Loose __attribute__((aligned(4), may_alias));
  return *reinterpret_cast<const Loose*>(from);
}

using AllLanes = std::make_integer_sequence<int, kLanes>;
using HalfLanes = std::make_integer_sequence<int, kLanes / 2>;

// Ones where the first part's lanes have this bit in their numbers.
template <int bit, int... i>
inline Fractions lanes_with(std::integer_sequence<int, i...>) {
  return Fractions{lane_of(0, i) & bit ? ~std::uint64_t{0} : 0 ...};
}

// Each times the number of its lane in the first part.
inline Fractions times_lane(Fractions x) {
  Fractions product = x & lanes_with<1>(HalfLanes());
  if constexpr (kLanes > 4) product += (x << 2) & lanes_with<4>(HalfLanes());
  if constexpr (kLanes > 8) product += (x << 3) & lanes_with<8>(HalfLanes());
  return product;
}

// Of |x| < 2^51.
inline std::int64_t nearest_whole(double x) noexcept {
  const double rounded = x + rounder;
  std::int64_t bits, zero;
  std::memcpy(&bits, &rounded, sizeof bits);
  std::memcpy(&zero, &rounder, sizeof zero);
  return bits - zero;
}

// The part of a turn, -½ ... ½.
inline double part_of_turn(double turns) noexcept { return turns - ((turns + rounder) - rounder); }

// Turns · 2^64.
inline std::uint64_t fraction(double turns) noexcept {
  const double high = part_of_turn(turns) * 0x1p32, low = (high - ((high + rounder) - rounder)) * 0x1p32;
  return (static_cast<std::uint64_t>(nearest_whole(high)) << 32) + static_cast<std::uint64_t>(nearest_whole(low));
}

// Turns · 2^32.
inline std::int32_t turns_of(double turns) noexcept {
  return static_cast<std::int32_t>(nearest_whole(part_of_turn(turns) * 0x1p32));
}

// 2^x for |x| ≤ 126: a minimax polynomial on [-½, ½] times a power of two put together from its bits.
inline float exp2(double x) noexcept {
  const double rounded = x + rounder;
  const float f = static_cast<float>(x - (rounded - rounder));
  std::int64_t whole;
  std::memcpy(&whole, &rounded, sizeof whole);
  const std::int32_t bits = (static_cast<std::int32_t>(whole) + 127) << 23;
  float power;
  std::memcpy(&power, &bits, sizeof power);
  return power *
         (1.0f +
          f * (6.931472067e-01f +
               f * (2.402265150e-01f +
                    f * (5.550327216e-02f + f * (9.617994520e-03f + f * (1.340043167e-03f + f * 1.547802063e-04f))))));
}

// The exponential of one axis. Above, the product of both stays finite; below, it may become 0.
inline float decay_along(double decay, double k) noexcept {
  const double exponent = decay * (k * k);
  const double bounded = exponent < -126 ? -126 : exponent;
  return exp2(bounded > 63 ? 63 : bounded);
}

// scale · sin(½π v) = v · (linear + v² · (c[0] + ...)): minimax for |v| ≤ 1, the rounding of `linear` made good at v
// = 1.
struct Sine {
  float linear, c[4];

  explicit Sine(double scale) noexcept
      : linear(static_cast<float>(scale * 1.5707963705062866)),
        c{static_cast<float>(scale * -0.6459642596893896 + (scale * 1.5707963705062866 - linear)),
          static_cast<float>(scale * 0.07969140863920027), static_cast<float>(scale * -0.004675879724822175),
          static_cast<float>(scale * 0.00015236780435157193)} {}

  // Of a phase less a quarter of a turn: the cosine, which is even, is the sine of a quarter less the distance.
  Floats operator()(Ints phase) const noexcept {
    const Wrapped quarter = Wrapped{} + (1u << 30), turned = (Wrapped)phase;
    const Wrapped distance = phase < 0 ? -turned : turned;
    const Floats v = __builtin_convertvector((Ints)(quarter - distance), Floats) * 0x1p-30f, u = v * v;
    return v * linear + (v * u) * (c[0] + u * (c[1] + u * (c[2] + u * c[3])));
  }
};

// Phases along a row: base + slope·i + bend·i², from a multiple of kLanes to the next. The second part's lanes are two
// behind those of the first.
class RowPhases {
 public:
  RowPhases(std::uint64_t base, std::uint64_t slope, std::uint64_t bend) noexcept {
    const Fractions slopes = Fractions{} + slope, bends = Fractions{} + bend, bent = times_lane(bends);
    value_[0] = base + times_lane(slopes + bent);
    value_[1] = value_[0] + 2 * slopes + 4 * (bends + bent);
    first_[0] = kLanes * (slopes + kLanes * bends + 2 * bent);
    first_[1] = first_[0] + 4 * kLanes * bends;
    second_ = 2 * kLanes * kLanes * bends;
  }

  Ints next() noexcept {
    const Ints now = high_halves(value_[0], value_[1], AllLanes());
    for (int part = 0; part < 2; ++part) {
      value_[part] += first_[part];
      first_[part] += second_;
    }
    return now;
  }

 private:
  Fractions value_[2], first_[2], second_;
};

// What the samples of a run have, from its first one on; envelope and turns where there are such.
struct Row {
  const std::int32_t* column;
  const float* envelope;
  float row_envelope;
  const std::int32_t* turns;
};

// A run of n samples; `room`: how many may be written, at least n. What lies beyond n is the next run's, which follows.
template <bool decaying, bool moved>
inline void evaluate_run(const Sine& sine, RowPhases phases, const Row& row, std::int64_t n, std::int64_t room,
                         float* out) noexcept {
  const auto value = [&](std::int64_t i, Ints more) {
    const Floats value = sine((Ints)((Wrapped)phases.next() + (Wrapped)load(row.column + i) + (Wrapped)more));
    return decaying ? value * load(row.envelope + i) * row.row_envelope : value;
  };
  std::int64_t i = 0;
  for (const std::int64_t end = whole_vectors(n, room); i < end; i += kLanes)
    store(out + i, value(i, moved ? load(row.turns + i) : Ints{}));
  if (i >= n) return;
  Ints more = {};
  if constexpr (moved) std::memcpy(&more, row.turns + i, static_cast<std::size_t>(room - i) * sizeof(std::int32_t));
  store_some(out + i, value(i, more), room - i);
}

template <bool decaying, bool moved>
inline void evaluate(double scale, const CtfTables& tables, const Run* begin, const Run* end, const std::int32_t* turns,
                     float* out) noexcept {
  const Sine sine(scale);
  const std::int64_t last = begin == end ? 0 : end[-1].first + end[-1].n;
  for (const Run* run = begin; run != end; ++run) {
    const std::int64_t y = std::int64_t{run->y} - tables.y_first, column = std::int64_t{run->x} - tables.x_first;
    const std::uint64_t x = static_cast<std::uint64_t>(std::int64_t{run->x});
    const std::uint64_t bent = tables.bend[y] * x, slope = tables.slope[y] + bent;
    const RowPhases phases(tables.constant[y] + slope * x, slope + bent, tables.bend[y]);
    const Row row{tables.column + column, decaying ? tables.column_envelope + column : nullptr,
                  decaying ? tables.row_envelope[y] : 1, moved ? turns + run->first : nullptr};
    evaluate_run<decaying, moved>(sine, phases, row, run->n, last - run->first, out + run->first);
  }
}

}  // namespace

void ctf_tables(const CtfCoefficients& c, const CtfTables& tables) noexcept {
  const double xx = kPerTurn * c.xx, xy = kPerTurn * c.xy, yy = kPerTurn * c.yy, quartic = kPerTurn * c.quartic;
  const double constant = kPerTurn * c.constant - 0.25, decay = c.decay;
  const std::int32_t n_column = static_cast<std::int32_t>(tables.n_column);
  const std::int32_t n_row = static_cast<std::int32_t>(tables.n_row), x_first = tables.x_first,
                     y_first = tables.y_first;
  std::int32_t* __restrict column = tables.column;
  std::uint64_t* __restrict constants = tables.constant, * __restrict slopes = tables.slope;
  std::uint64_t* __restrict bends = tables.bend;
#pragma omp simd
  for (std::int32_t i = 0; i < n_column; ++i) {
    const double x = x_first + i, x2 = x * x;
    column[i] = turns_of(x2 * (xx + quartic * x2));
  }
#pragma omp simd
  for (std::int32_t i = 0; i < n_row; ++i) {
    const double y = y_first + i, y2 = y * y;
    constants[i] = fraction(y2 * (yy + quartic * y2) + constant);
    slopes[i] = fraction(xy * y);
    bends[i] = fraction(2 * quartic * y2);
  }
  if (decay == 0) return;
  float* __restrict of_column = tables.column_envelope, * __restrict of_row = tables.row_envelope;
#pragma omp simd
  for (std::int32_t i = 0; i < n_column; ++i) of_column[i] = decay_along(decay, x_first + i);
#pragma omp simd
  for (std::int32_t i = 0; i < n_row; ++i) of_row[i] = decay_along(decay, y_first + i);
}

void ctf_turns(const double* radians, std::int64_t n, std::int32_t* turns) noexcept {
#pragma omp simd
  for (std::int64_t k = 0; k < n; ++k) turns[k] = turns_of(kPerTurn * radians[k]);
}

void ctf_rows(const CtfCoefficients& coefficients, const CtfTables& tables, const Run* begin, const Run* end,
              const std::int32_t* turns, float* out) noexcept {
  const auto run = coefficients.decay == 0 ? (turns == nullptr ? evaluate<false, false> : evaluate<false, true>)
                                           : (turns == nullptr ? evaluate<true, false> : evaluate<true, true>);
  run(coefficients.scale, tables, begin, end, turns, out);
}

}  // namespace pycryo::PYCRYO_ISA
