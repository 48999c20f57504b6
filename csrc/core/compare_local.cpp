#include "pycryo/compare_local.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

namespace pycryo {
namespace {

// Slices and shifted copies of a block stay in the L1 cache, together with what reads the slices: four times as large a
// block takes a tenth longer.
constexpr std::int64_t kBlock = kSampleChunk;

// 16 floats of one cache line, so that vectors in the scratch do not straddle lines.
struct alignas(64) Line {
  float value[16];
};

// The kernels in use and the sample list, shared by all threads.
struct Common {
  const CompareLocal& in;
  std::vector<float> kx, ky;
  decltype(PYCRYO_SELECT(sample_slice)) sample;
  decltype(PYCRYO_SELECT(shift_block)) move;
  decltype(PYCRYO_SELECT(add_local_scores)) add;
};

struct Scratch {
  std::vector<PhaseStep> steps;
  std::vector<Line> image_lines, moved_lines, slice_lines, weight_lines;
  float *image, *moved, *slices, *weights;
  std::vector<double> cross, power;

  Scratch(const CompareLocal& in, std::int64_t n_rotation)
      : steps(2 * in.n_shift),
        image_lines(2 * kBlock / 16),
        moved_lines(in.n_shift * 2 * kBlock / 16),
        slice_lines(kSliceGroup * 2 * kBlock / 16),
        weight_lines(kBlock / 16),
        image(image_lines.data()->value),
        moved(moved_lines.data()->value),
        slices(slice_lines.data()->value),
        weights(weight_lines.data()->value),
        cross(4 * n_rotation * in.n_shift),
        power(n_rotation) {}
};

PhaseStep phase_step(double turns) {
  std::uint32_t bits;
  float high = static_cast<float>(turns);
  std::memcpy(&bits, &high, sizeof(bits));
  bits &= 0xfffff000u;
  std::memcpy(&high, &bits, sizeof(bits));
  return {high, static_cast<float>(turns - high)};
}

void copy_filled(const float* from, int count, int filled, float* to) {
  std::copy_n(from, count, to);
  std::fill(to + count, to + filled, 0.0f);
}

// Image, shifted copies and weights of samples first ... first + count - 1, with zeros up to `filled` samples.
void move_block(const Common& common, std::int64_t image, std::int64_t first, int count, int filled, Scratch& scratch) {
  const CompareLocal& in = common.in;
  const std::int64_t place = in.places[image];
  const float* re = in.images + place * 2 * in.n_pixel + first;
  copy_filled(re, count, filled, scratch.image);
  copy_filled(re + in.n_pixel, count, filled, scratch.image + filled);
  copy_filled(in.weights + place * in.n_pixel + first, count, filled, scratch.weights);
  common.move(scratch.image, common.kx.data() + first, common.ky.data() + first, filled, scratch.steps.data(),
              in.n_shift, scratch.moved);
}

// Samples first ... first + count - 1 (a multiple of 16) of the slices from number `rotation` on.
void sample_block(const Common& common, std::int64_t rotation, int n_slice, std::int64_t first, int count,
                  float* slices) {
  for (int r = 0; r < n_slice; ++r) {
    const HalfVolume& volume = common.in.volumes[common.in.classes[rotation + r]];
    const SlicePlane plane = slice_plane(common.in.rotations + 9 * (rotation + r), common.in.step);
    float* re = slices + r * 2 * count;
    common.sample(volume, plane, common.kx.data() + first, common.ky.data() + first, count, re, re + count);
  }
}

// Scores of one image for n orientations from `begin` on.
void compare_image(const Common& common, std::int64_t image, std::int64_t begin, std::int64_t n, Scratch& scratch,
                   float* scores) {
  const CompareLocal& in = common.in;
  const std::int64_t rotation = image * in.n_rotation + begin;
  for (std::int64_t axis = 0; axis < 2 * in.n_shift; ++axis)
    scratch.steps[axis] = phase_step(in.shifts[2 * image * in.n_shift + axis] / in.box);
  std::fill(scratch.cross.begin(), scratch.cross.end(), 0.0);
  std::fill(scratch.power.begin(), scratch.power.end(), 0.0);
  for (std::int64_t first = 0; first < in.n_pixel; first += kBlock) {
    const int count = static_cast<int>(std::min(kBlock, in.n_pixel - first)), filled = (count + 15) / 16 * 16;
    move_block(common, image, first, count, filled, scratch);
    for (std::int64_t r = 0; r < n; r += kSliceGroup) {
      const int n_slice = static_cast<int>(std::min<std::int64_t>(kSliceGroup, n - r));
      sample_block(common, rotation + r, n_slice, first, filled, scratch.slices);
      common.add(scratch.slices, n_slice, scratch.moved, in.n_shift, scratch.weights, filled,
                 scratch.cross.data() + 4 * r * in.n_shift, scratch.power.data() + r);
    }
  }
  float* out = scores + rotation * in.n_shift;
  for (std::int64_t i = 0; i < n * in.n_shift; ++i) {
    const double* four = scratch.cross.data() + 4 * i;
    out[i] = static_cast<float>((four[0] + four[1]) + (four[2] + four[3]) - 0.5 * scratch.power[i / in.n_shift]);
  }
}

}  // namespace

void compare_local(const CompareLocal& in, float* scores, int threads) {
  if (in.n_image * in.n_rotation * in.n_shift == 0) return;
  const Common common{in,
                      padded_index(in.kx, in.n_pixel),
                      padded_index(in.ky, in.n_pixel),
                      PYCRYO_SELECT(sample_slice),
                      PYCRYO_SELECT(shift_block),
                      PYCRYO_SELECT(add_local_scores)};
  // Parts per image: four pieces of work for each thread even out, and each moves its image anew.
  const std::int64_t wanted = (4 * threads + in.n_image - 1) / in.n_image;
  const std::int64_t n_group = (in.n_rotation + kSliceGroup - 1) / kSliceGroup;
  const std::int64_t part = (n_group + wanted - 1) / wanted * kSliceGroup, n_part = (in.n_rotation + part - 1) / part;
#pragma omp parallel num_threads(threads)
  {
    Scratch scratch(in, std::min(part, in.n_rotation));
    // The threads meet at the end of the parallel region: to meet twice is to sleep and be woken twice.
#pragma omp for schedule(dynamic) nowait
    for (std::int64_t work = 0; work < in.n_image * n_part; ++work) {
      const std::int64_t begin = work % n_part * part;
      compare_image(common, work / n_part, begin, std::min(part, in.n_rotation - begin), scratch, scores);
    }
  }
}

}  // namespace pycryo
