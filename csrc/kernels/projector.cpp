#include "pycryo/projector.hpp"

#include "lanes.hpp"

// Three passes over a chunk that fits the L1 cache. Only the middle one touches the volume: per sample four loads of
// 16 bytes, each of which brings (re, im) of two neighbours in x. Its addresses are known beforehand, so that cache
// misses overlap.
namespace pycryo::PYCRYO_ISA {
namespace {

// Positions, addresses and weights of one chunk of samples.
struct Chunk {
  alignas(64) std::int32_t row[kSampleChunk];
  alignas(64) std::int32_t column[kSampleChunk];
  alignas(64) float weight[4][kSampleChunk];  // of the rows (y, z), (y+1, z), (y, z+1), (y+1, z+1)
  alignas(64) float fraction[kSampleChunk];   // in x
  alignas(64) float sign[kSampleChunk];       // 1; -1 where -q was read; 0 outside the volume
  alignas(64) float sum[4 * kSampleChunk];    // re, im at x, re, im at x + 1
};

struct Cell {
  Ints index;
  Floats fraction;
};

inline Cell cell(Floats q) {
  Cell c{__builtin_convertvector(q, Ints), {}};
  c.fraction = q - __builtin_convertvector(c.index, Floats);
  const Ints below = c.fraction < 0;
  c.index += below;
  c.fraction -= __builtin_convertvector(below, Floats);
  return c;
}

template <bool is_curved>
inline void locate(const HalfVolume& volume, const SlicePlane& plane, const float* kx, const float* ky, int count,
                   Chunk& chunk) {
  const std::int32_t r = volume.radius, side = 2 * r + 1;
  const float limit = (r - 0.5f) * (r - 0.5f);
  const std::int32_t sign_bit = INT32_MIN;
  for (int i = 0; i < count; i += kLanes) {
    const Floats x = load(kx + i), y = load(ky + i);
    Floats qx = plane.x[0] * x + plane.y[0] * y;
    Floats qy = plane.x[1] * x + plane.y[1] * y;
    Floats qz = plane.x[2] * x + plane.y[2] * y;
    if constexpr (is_curved) {
      const Floats square = qx * qx + qy * qy + qz * qz;
      qx += plane.bend[0] * square;
      qy += plane.bend[1] * square;
      qz += plane.bend[2] * square;
    }
    const Ints inside = qx * qx + qy * qy + qz * qz < limit;  // false for NaN
    const Ints flip = (Ints)qx & sign_bit;
    const Cell cx = cell((Floats)(((Ints)qx ^ flip) & inside));
    const Cell cy = cell((Floats)(((Ints)qy ^ flip) & inside));
    const Cell cz = cell((Floats)(((Ints)qz ^ flip) & inside));
    const Floats w11 = cy.fraction * cz.fraction;
    *reinterpret_cast<Ints*>(chunk.row + i) = (cz.index + r) * side + (cy.index + r);
    *reinterpret_cast<Ints*>(chunk.column + i) = cx.index;
    *reinterpret_cast<Floats*>(chunk.weight[0] + i) = (1 - cy.fraction) - (cz.fraction - w11);
    *reinterpret_cast<Floats*>(chunk.weight[1] + i) = cy.fraction - w11;
    *reinterpret_cast<Floats*>(chunk.weight[2] + i) = cz.fraction - w11;
    *reinterpret_cast<Floats*>(chunk.weight[3] + i) = w11;
    *reinterpret_cast<Floats*>(chunk.fraction + i) = cx.fraction;
    const Floats one = Floats{} + 1;
    *reinterpret_cast<Floats*>(chunk.sign + i) = (Floats)(((Ints)one ^ flip) & inside);
  }
}

inline void read_rows(const HalfVolume& volume, int count, Chunk& chunk) {
  const std::int64_t row_length = 2 * (std::int64_t{volume.radius} + 1);
  const std::int64_t plane_length = (2 * std::int64_t{volume.radius} + 1) * row_length;
  const float* v00 = volume.data;
  const float* v01 = v00 + row_length;
  const float* v10 = v00 + plane_length;
  const float* v11 = v10 + row_length;
  for (int i = 0; i < count; ++i) {
    const std::int64_t at = chunk.row[i] * row_length + 2 * chunk.column[i];
    const Floats4 sum = chunk.weight[0][i] * load4(v00 + at) + chunk.weight[1][i] * load4(v01 + at) +
                        chunk.weight[2][i] * load4(v10 + at) + chunk.weight[3][i] * load4(v11 + at);
    *reinterpret_cast<Floats4*>(chunk.sum + 4 * i) = sum;
  }
}

inline void finish(int count, const Chunk& chunk, float* __restrict re, float* __restrict im) {
  const float* __restrict sum = chunk.sum;
#pragma omp simd
  for (int i = 0; i < count; ++i) {
    const float f = chunk.fraction[i], sign = chunk.sign[i];
    re[i] = (sum[4 * i] + f * (sum[4 * i + 2] - sum[4 * i])) * (sign * sign);
    im[i] = (sum[4 * i + 1] + f * (sum[4 * i + 3] - sum[4 * i + 1])) * sign;
  }
}

}  // namespace

void sample_slice(const HalfVolume& volume, const SlicePlane& plane, const float* kx, const float* ky, int count,
                  float* re, float* im) noexcept {
  Chunk chunk;
  (plane.is_curved ? locate<true> : locate<false>)(volume, plane, kx, ky, count, chunk);
  read_rows(volume, count, chunk);
  finish(count, chunk, re, im);
}

}  // namespace pycryo::PYCRYO_ISA
