// Slice extraction from (re, im) pairs, as the kernel `projector` does it, against split arrays of re and of im.
//
//   g++ -O3 -std=gnu++17 -march=x86-64-v4 -fopenmp-simd -DPYCRYO_ISA=avx512 -DPYCRYO_ISA_avx512 -Icsrc/include
//       -Icsrc/kernels bench/kernels/volume_layout.cpp -o volume_layout && ./volume_layout
//
// prints million samples per second on one thread (x86-64-v3 and avx2 instead for AVX2), box 128 padded to 256.
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "../../csrc/kernels/projector.cpp"

using namespace pycryo;
using namespace pycryo::PYCRYO_ISA;

namespace {

typedef float Floats2 __attribute__((vector_size(8)));

inline Floats2 load2(const float* from) {
  Floats2 pair;
  __builtin_memcpy(&pair, from, sizeof(pair));
  return pair;
}

// read_rows for split arrays: eight loads of 8 bytes per sample; its sums are re, re, im, im.
void read_split_rows(const float* re, const float* im, std::int32_t radius, int count, Chunk& chunk) {
  const std::int64_t row = radius + 1, plane = (2 * radius + 1) * row;
  for (int i = 0; i < count; ++i) {
    const std::int64_t at = chunk.row[i] * row + chunk.column[i], ats[4] = {at, at + row, at + plane, at + plane + row};
    Floats2 sum_re = {}, sum_im = {};
    for (int n = 0; n < 4; ++n) {
      sum_re += chunk.weight[n][i] * load2(re + ats[n]);
      sum_im += chunk.weight[n][i] * load2(im + ats[n]);
    }
    __builtin_memcpy(chunk.sum + 4 * i, &sum_re, sizeof(sum_re));
    __builtin_memcpy(chunk.sum + 4 * i + 2, &sum_im, sizeof(sum_im));
  }
}

// Two orthogonal steps of length 2 in a random orientation.
SlicePlane random_plane(std::mt19937& random) {
  std::normal_distribution<double> normal;
  double q[4], norm = 0;
  for (double& value : q) {
    value = normal(random);
    norm += value * value;
  }
  for (double& value : q) value /= std::sqrt(norm);
  const auto [w, x, y, z] = q;
  const double row_x[3] = {1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)};
  const double row_y[3] = {2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)};
  SlicePlane plane;
  for (int axis = 0; axis < 3; ++axis) {
    plane.x[axis] = static_cast<float>(2 * row_x[axis]);
    plane.y[axis] = static_cast<float>(2 * row_y[axis]);
  }
  return plane;
}

// Ones in huge pages, as NumPy allocates large arrays: with small pages both layouts are several times slower.
float* ones(std::size_t size) {
  const std::size_t page = std::size_t{1} << 21, bytes = (size * sizeof(float) + page - 1) / page * page;
  auto* data = static_cast<float*>(std::aligned_alloc(page, bytes));
  madvise(data, bytes, MADV_HUGEPAGE);
  std::fill_n(data, size, 1.0f);
  return data;
}

template <class Work>
double seconds(Work work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

int main() {
  const int r_high = 64, radius = 2 * r_high + 1, n_slice = 100;
  const std::size_t size = std::size_t{1} * (2 * radius + 1) * (2 * radius + 1) * (radius + 1);
  const float *pairs = ones(2 * size), *re = ones(size), *im = ones(size);
  std::vector<float> kx, ky;
  for (int y = -r_high; y <= r_high; ++y)
    for (int x = 0; x <= r_high; ++x)
      if (x * x + y * y < r_high * r_high) kx.push_back(x), ky.push_back(y);
  const double n_sample = 1e-6 * n_slice * kx.size();
  while (kx.size() % kSampleChunk) kx.push_back(NAN), ky.push_back(NAN);
  std::mt19937 random(0);
  std::vector<SlicePlane> planes(n_slice);
  std::generate(planes.begin(), planes.end(), [&] { return random_plane(random); });
  std::vector<float> out_re(kx.size()), out_im(kx.size());
  const HalfVolume volume{pairs, radius};

  const auto for_each_chunk = [&](auto read) {
    Chunk chunk;
    for (const SlicePlane& plane : planes)
      for (std::size_t k = 0; k < kx.size(); k += kSampleChunk) {
        locate<false>(volume, plane, &kx[k], &ky[k], kSampleChunk, chunk);
        read(chunk);
        finish(kSampleChunk, chunk, &out_re[k], &out_im[k]);
      }
  };
  std::vector<double> paired, split;
  for (int repeat = 0; repeat < 15; ++repeat) {
    paired.push_back(seconds([&] { for_each_chunk([&](Chunk& chunk) { read_rows(volume, kSampleChunk, chunk); }); }));
    split.push_back(
        seconds([&] { for_each_chunk([&](Chunk& chunk) { read_split_rows(re, im, radius, kSampleChunk, chunk); }); }));
  }
  std::sort(paired.begin(), paired.end());
  std::sort(split.begin(), split.end());
  std::printf("pairs %.0f, split %.0f Mpixel/s (medians); pairs are %.2f times as fast\n", n_sample / paired[7],
              n_sample / split[7], split[7] / paired[7]);
}
