#include "pycryo/images.hpp"

#include "lanes.hpp"
#include "shuffle.hpp"

namespace pycryo::PYCRYO_ISA {
namespace {

// A complex number of each of kLanes lines.
struct Complex {
  Floats re, im;
};

inline Complex operator+(Complex a, Complex b) { return {a.re + b.re, a.im + b.im}; }
inline Complex operator-(Complex a, Complex b) { return {a.re - b.re, a.im - b.im}; }
inline Complex operator*(float f, Complex a) { return {f * a.re, f * a.im}; }
inline Complex times_i(Complex a) { return {-a.im, a.re}; }
inline Complex turned(Complex a, const float* twiddle) {
  const float c = twiddle[0], s = twiddle[1];
  return {a.re * c - a.im * s, a.re * s + a.im * c};
}

// Inverse transforms of `radix` numbers in place.
template <int radix>
inline void butterfly(Complex* a) {
  if constexpr (radix == 2) {
    const Complex b = a[1];
    a[1] = a[0] - b;
    a[0] = a[0] + b;
  } else if constexpr (radix == 3) {
    const float s = 0.86602540378443864676f;
    const Complex sum = a[1] + a[2], u = a[0] - 0.5f * sum, v = s * times_i(a[1] - a[2]);
    a[0] = a[0] + sum;
    a[1] = u + v;
    a[2] = u - v;
  } else if constexpr (radix == 4) {
    const Complex t0 = a[0] + a[2], t1 = a[0] - a[2], t2 = a[1] + a[3], t3 = times_i(a[1] - a[3]);
    a[0] = t0 + t2;
    a[1] = t1 + t3;
    a[2] = t0 - t2;
    a[3] = t1 - t3;
  } else {
    const float c1 = 0.30901699437494742410f, c2 = -0.80901699437494742410f;
    const float s1 = 0.95105651629515357212f, s2 = 0.58778525229247312917f;
    const Complex t1 = a[1] + a[4], t2 = a[2] + a[3], t3 = a[1] - a[4], t4 = a[2] - a[3];
    const Complex u1 = a[0] + c1 * t1 + c2 * t2, u2 = a[0] + c2 * t1 + c1 * t2;
    const Complex v1 = times_i(s1 * t3 + s2 * t4), v2 = times_i(s2 * t3 - s1 * t4);
    a[0] = a[0] + t1 + t2;
    a[1] = u1 + v1;
    a[2] = u2 + v2;
    a[3] = u2 - v2;
    a[4] = u1 - v1;
  }
}

// One pass of Stockham's algorithm: n = radix · m points, of which there are `step` transforms side by side.
template <int radix>
void pass(const Complex* from, Complex* to, std::int32_t m, std::int32_t step, const float* twiddles) {
  for (std::int32_t p = 0; p < m; ++p, twiddles += 2 * (radix - 1))
    for (std::int32_t q = 0; q < step; ++q) {
      Complex a[radix];
      for (int j = 0; j < radix; ++j) a[j] = from[q + step * (p + m * j)];
      butterfly<radix>(a);
      Complex* out = to + q + step * radix * p;
      out[0] = a[0];
      for (int j = 1; j < radix; ++j) out[step * j] = p == 0 ? a[j] : turned(a[j], twiddles + 2 * (j - 1));
    }
}

// Inverse transforms, not scaled, of kLanes lines in buffer 0; returns the buffer where they are then.
const float* transform(const Passes& passes, float* const* buffer) {
  const float* twiddles = passes.twiddles;
  int at = 0;
  std::int32_t n = passes.n, step = 1;
  for (std::int32_t k = 0; k < passes.count; ++k) {
    const std::int32_t radix = passes.radix[k], m = n / radix;
    const auto run = radix == 4 ? pass<4> : radix == 2 ? pass<2> : radix == 3 ? pass<3> : pass<5>;
    run(reinterpret_cast<const Complex*>(buffer[at]), reinterpret_cast<Complex*>(buffer[1 - at]), m, step, twiddles);
    twiddles += 2 * m * (radix - 1);
    step *= radix;
    n = m;
    at = 1 - at;
  }
  return buffer[at];
}

inline void store4(float* to, Floats4 value) {
  typedef Floats4 Loose __attribute__((aligned(4), may_alias));
  *reinterpret_cast<Loose*>(to) = value;
}

// Rows to columns.
inline void transpose(Floats4 (&a)[4]) {
  const Floats4 low01 = shuffle<0, 4, 1, 5>(a[0], a[1]), high01 = shuffle<2, 6, 3, 7>(a[0], a[1]);
  const Floats4 low23 = shuffle<0, 4, 1, 5>(a[2], a[3]), high23 = shuffle<2, 6, 3, 7>(a[2], a[3]);
  a[0] = shuffle<0, 1, 4, 5>(low01, low23);
  a[1] = shuffle<2, 3, 6, 7>(low01, low23);
  a[2] = shuffle<0, 1, 4, 5>(high01, high23);
  a[3] = shuffle<2, 3, 6, 7>(high01, high23);
}

template <int... places>
inline Floats picked(Floats v) {
#ifdef __clang__
  return __builtin_shufflevector(v, v, places...);
#else
  return __builtin_shuffle(v, Ints{places...});
#endif
}

// Element i of the vector is that at -i.
inline Floats backwards(const float* last) {
  const Floats v = load(last + 1 - kLanes);
  if constexpr (kLanes == 16)
    return picked<15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0>(v);
  else if constexpr (kLanes == 8)
    return picked<7, 6, 5, 4, 3, 2, 1, 0>(v);
  else
    return picked<3, 2, 1, 0>(v);
}

// Samples into the plane, times (-1)^(kx + ky) / box²: that moves the origin from the first pixel to the centre.
void put(const float* samples, std::int64_t n_pixel, const Run* begin, const Run* end, const ImagePlan& plan,
         float* plane) {
  const std::int64_t imaginary = std::int64_t{plan.box} * plan.stride;
  const float scale = 1 / (static_cast<float>(plan.box) * static_cast<float>(plan.box));
  Floats sign = {};
  for (int lane = 0; lane < kLanes; ++lane) sign[lane] = lane % 2 ? -scale : scale;
  const auto row = [&](std::int32_t y) { return plane + std::int64_t{y < 0 ? y + plan.box : y} * plan.stride + 16; };
  for (const Run* run = begin; run != end; ++run) {
    const float *re = samples + run->first, *im = re + n_pixel;
    float* to = row(run->y) + run->x;
    const Floats factor = (run->x + run->y) % 2 ? -sign : sign;
    std::int32_t i = 0;
    for (; i + kLanes <= run->n; i += kLanes) {
      store(to + i, factor * load(re + i));
      store(to + imaginary + i, factor * load(im + i));
    }
    for (float one = factor[0]; i < run->n; ++i, one = -one) {
      to[i] = one * re[i];
      to[imaginary + i] = one * im[i];
    }
    if (run->x == 0) {
      float* mate = row(-run->y);
      mate[imaginary] = run->y == 0 ? 0 : -to[imaginary];
      mate[0] = to[0];
    }
  }
}

// Columns first ... first + kLanes - 1 of the complex plane: (F(k) + F(k + box/2)) + i exp(2πi k / box) (F(k) - F(k +
// box/2)) in each row, where F(k + box/2, ky) is the conjugate of F(box/2 - k, -ky).
void join(const ImagePlan& plan, const float* plane, std::int32_t first, float* buffer) {
  const std::int64_t imaginary = std::int64_t{plan.box} * plan.stride;
  const Floats cosine = load(plan.cosine + first), sine = load(plan.sine + first);
  Complex* out = reinterpret_cast<Complex*>(buffer);
  for (std::int32_t y = 0; y < plan.box; ++y) {
    const float* row = plane + std::int64_t{y} * plan.stride + 16 + first;
    const float* other = plane + std::int64_t{y ? plan.box - y : 0} * plan.stride + 16 + plan.box / 2 - first;
    const Complex a{load(row), load(row + imaginary)}, b{backwards(other), -backwards(other + imaginary)};
    const Complex sum = a + b, d = a - b;
    out[y] = {sum.re - sine * d.re - cosine * d.im, sum.im - sine * d.im + cosine * d.re};
  }
}

}  // namespace

void make_image(const float* samples, std::int64_t n_pixel, const Run* begin, const Run* end, const ImagePlan& plan,
                const ImageScratch& scratch, float* out) noexcept {
  const std::int32_t box = plan.box, half = box / 2;
  const std::int64_t padded = plan.padded, imaginary = (half + 15) / 16 * 16 * padded;
  put(samples, n_pixel, begin, end, plan, scratch.plane);
  for (std::int32_t x = 0; x < half; x += kLanes) {
    join(plan, scratch.plane, x, scratch.buffer[0]);
    const float* lines = transform(plan.along_y, scratch.buffer);
    for (std::int32_t part = 0; part < 2; ++part)
      for (std::int32_t lane = 0; lane < kLanes; lane += 4)
        for (std::int32_t y = 0; y < box; y += 4) {
          Floats4 a[4] = {};
          for (int j = 0; j < 4 && y + j < box; ++j) a[j] = load4(lines + (2 * (y + j) + part) * kLanes + lane);
          transpose(a);
          for (int j = 0; j < 4; ++j) store4(scratch.transposed + part * imaginary + (x + lane + j) * padded + y, a[j]);
        }
  }
  for (std::int32_t y = 0; y < box; y += kLanes) {
    Complex* in = reinterpret_cast<Complex*>(scratch.buffer[0]);
    for (std::int32_t k = 0; k < half; ++k) {
      const float* row = scratch.transposed + k * padded + y;
      in[k] = {load(row), load(row + imaginary)};
    }
    const float* lines = transform(plan.along_x, scratch.buffer);
    for (std::int32_t lane = 0; lane < kLanes && y + lane < box; lane += 4)
      for (std::int32_t x = 0; x < box; x += 4) {
        Floats4 a[4] = {};
        for (int j = 0; j < 4 && x + j < box; ++j) a[j] = load4(lines + (x + j) * kLanes + lane);
        transpose(a);
        for (int j = 0; j < 4 && y + lane + j < box; ++j) {
          float* to = out + std::int64_t{y + lane + j} * box + x;
          if (x + 4 <= box)
            store4(to, a[j]);
          else
            store_some(to, Floats{a[j][0], a[j][1]}, box - x);
        }
      }
  }
}

}  // namespace pycryo::PYCRYO_ISA
