#include "pycryo/backprojector.hpp"

namespace pycryo::PYCRYO_ISA {
namespace {

constexpr std::int64_t chunk = 256;  // samples located at a time; their scratch stays in the L1 cache

// Neighbours along x, contiguous in memory but not aligned.
typedef double Pair __attribute__((vector_size(16), aligned(8), may_alias));

struct Located {
  std::int32_t column[chunk];
  std::int32_t x[chunk], row[chunk];
  float fx[chunk], fy[chunk], fz[chunk];
  float side[chunk];  // -1 where the sample was replaced by its Hermitian mate
};

// Written without conditions: under -fno-exceptions GCC 12 turns them into branches and leaves the loop scalar.
inline void locate(const BackprojectPlane& plane, const std::int32_t* __restrict kx, const std::int32_t* __restrict ky,
                   std::int64_t n, Located& __restrict out) noexcept {
  const double ax = plane.along_x[0], ay = plane.along_x[1], az = plane.along_x[2];
  const double bx = plane.along_y[0], by = plane.along_y[1], bz = plane.along_y[2];
  const std::int32_t radius = plane.radius, bits = plane.tile_bits, mask = (1 << bits) - 1;
  const std::int32_t layer = 2 * radius + 1, first = plane.first - 1, last = plane.last;
  const std::int32_t per_axis = plane.columns_per_axis, nowhere = per_axis * per_axis;
  const double origin = radius, reach = (radius - 0.5) * (radius - 0.5);
#pragma omp simd
  for (std::int64_t k = 0; k < n; ++k) {
    const double u = kx[k], v = ky[k];
    const double x = u * ax + v * bx + 0.0;  // never -0, which copysign would take for negative
    const double y = u * ay + v * by;
    const double z = u * az + v * bz;
    const std::int32_t inside = x * x + y * y + z * z < reach;
    const double keep = inside, side = __builtin_copysign(keep, x);  // samples outside go to the origin
    const double qx = side * x;
    const double qy = side * y + origin;
    const double qz = side * z + origin;
    const std::int32_t ix = static_cast<std::int32_t>(qx);
    const std::int32_t iy = static_cast<std::int32_t>(qy);
    const std::int32_t iz = static_cast<std::int32_t>(qz);
    out.fx[k] = static_cast<float>(qx - ix);
    out.fy[k] = static_cast<float>(qy - iy);
    out.fz[k] = static_cast<float>(qz - iz);
    out.side[k] = static_cast<float>(side);
    const std::int32_t wanted = inside & (iy >= first) & (iy < last);
    out.x[k] = ix;
    out.row[k] = (iy & mask) * layer + (iz & mask);
    out.column[k] = nowhere + wanted * ((iy >> bits) * per_axis + (iz >> bits) - nowhere);
  }
}

inline std::int64_t smaller(std::int64_t a, std::int64_t b) noexcept { return a < b ? a : b; }

}  // namespace

void backproject_count(const BackprojectPlane& plane, const std::int32_t* kx, const std::int32_t* ky,
                       std::int64_t n_pixel, std::int64_t* count) noexcept {
  Located located;
  for (std::int64_t start = 0; start < n_pixel; start += chunk) {
    const std::int64_t n = smaller(chunk, n_pixel - start);
    locate(plane, kx + start, ky + start, n, located);
    for (std::int64_t k = 0; k < n; ++k) ++count[located.column[k]];
  }
}

void backproject_sort(const BackprojectPlane& plane, const std::int32_t* kx, const std::int32_t* ky,
                      std::int64_t n_pixel, const float* re, const float* im, const float* weight, std::int32_t k_max,
                      const float* ramp_x, const float* ramp_y, float entry_weight, BackprojectRecord* records,
                      std::int64_t* cursor) noexcept {
  const std::int32_t sine = 2 * k_max + 1;
  Located located;
  float out_re[chunk], out_im[chunk];
  for (std::int64_t start = 0; start < n_pixel; start += chunk) {
    const std::int64_t n = smaller(chunk, n_pixel - start);
    locate(plane, kx + start, ky + start, n, located);
#pragma omp simd
    for (std::int64_t k = 0; k < n; ++k) {
      const std::int32_t x = kx[start + k] + k_max, y = ky[start + k] + k_max;
      const float cx = ramp_x[x], sx = ramp_x[x + sine], cy = ramp_y[y], sy = ramp_y[y + sine];
      const float c = cx * cy - sx * sy, s = cx * sy + sx * cy;
      out_re[k] = entry_weight * (re[start + k] * c - im[start + k] * s);
      out_im[k] = entry_weight * (re[start + k] * s + im[start + k] * c) * located.side[k];
    }
    for (std::int64_t k = 0; k < n; ++k)
      records[cursor[located.column[k]]++] = {
          located.x[k],  located.row[k], located.fx[k], located.fy[k],
          located.fz[k], out_re[k],      out_im[k],     entry_weight * weight[start + k]};
  }
}

void backproject_add(const BackprojectRecord* __restrict records, std::int64_t n, const BackprojectColumn& column,
                     double quantum_value, double quantum_weight, double* __restrict re, double* __restrict im,
                     double* __restrict weight) noexcept {
  // Adding and subtracting 1.5·2^52 quanta leaves a multiple of the quantum.
  const double big_value = 0x1.8p52 * quantum_value, big_weight = 0x1.8p52 * quantum_weight;
  for (std::int64_t i = 0; i < n; ++i) {
    const BackprojectRecord& record = records[i];
    const double fx = record.fx, fy = record.fy, fz = record.fz;
    const Pair along_x = {1 - fx, fx};
    const double along_yz[4] = {(1 - fy) * (1 - fz), (1 - fy) * fz, fy * (1 - fz), fy * fz};
    const std::int32_t row[4] = {record.row, record.row + 1, record.row + column.layer, record.row + column.layer + 1};
    for (int j = 0; j < 4; ++j) {
      if (row[j] < column.first || row[j] >= column.last) continue;
      const std::int64_t voxel = column.start[row[j]] + record.x - column.origin;
      const Pair share = along_x * along_yz[j];
      *reinterpret_cast<Pair*>(re + voxel) += (share * record.re + big_value) - big_value;
      *reinterpret_cast<Pair*>(im + voxel) += (share * record.im + big_value) - big_value;
      *reinterpret_cast<Pair*>(weight + voxel) += (share * record.weight + big_weight) - big_weight;
    }
  }
}

}  // namespace pycryo::PYCRYO_ISA
