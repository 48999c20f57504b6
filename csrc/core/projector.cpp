#include "pycryo/projector.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace pycryo {

SlicePlane slice_plane(const double* rotation, double step, double curvature) noexcept {
  SlicePlane plane{};
  for (int axis = 0; axis < 3; ++axis) {
    plane.x[axis] = static_cast<float>(step * rotation[axis]);
    plane.y[axis] = static_cast<float>(step * rotation[3 + axis]);
  }
  if (curvature != 0) {
    const double *a = rotation, *b = rotation + 3;
    const double normal[3] = {a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]};
    const double length = std::sqrt(normal[0] * normal[0] + normal[1] * normal[1] + normal[2] * normal[2]);
    plane.is_curved = length > 0;
    for (int axis = 0; axis < 3 && plane.is_curved; ++axis)
      plane.bend[axis] = static_cast<float>(curvature / step * normal[axis] / length);
  }
  return plane;
}

std::vector<float> padded_index(const std::int32_t* index, std::int64_t n_pixel) {
  std::vector<float> padded((n_pixel + 15) / 16 * 16, std::numeric_limits<float>::quiet_NaN());
  std::copy(index, index + n_pixel, padded.begin());
  return padded;
}

void project_slices(const ProjectSlices& in, float* out, int threads) {
  const auto sample_slice = PYCRYO_SELECT(sample_slice);
  const std::vector<float> kx = padded_index(in.kx, in.n_pixel), ky = padded_index(in.ky, in.n_pixel);
  const std::int64_t n_chunk = (in.n_pixel + kSampleChunk - 1) / kSampleChunk;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (std::int64_t work = 0; work < in.n_slice * n_chunk; ++work) {
    const std::int64_t slice = work / n_chunk, first = work % n_chunk * kSampleChunk;
    const SlicePlane plane =
        slice_plane(in.rotations + 9 * slice, in.step, in.curvature == nullptr ? 0 : in.curvature[slice]);
    const int count = static_cast<int>(std::min<std::int64_t>(kSampleChunk, in.n_pixel - first));
    float* re = out + slice * 2 * in.n_pixel + first;
    float* im = re + in.n_pixel;
    if (count % 16 == 0) {
      sample_slice(in.volume, plane, kx.data() + first, ky.data() + first, count, re, im);
    } else {
      float scratch[2][kSampleChunk];
      sample_slice(in.volume, plane, kx.data() + first, ky.data() + first, (count + 15) / 16 * 16, scratch[0],
                   scratch[1]);
      std::memcpy(re, scratch[0], count * sizeof(float));
      std::memcpy(im, scratch[1], count * sizeof(float));
    }
  }
}

}  // namespace pycryo
