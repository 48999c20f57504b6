#include "pycryo/images.hpp"

#include <cmath>
#include <memory>
#include <vector>

namespace pycryo {
namespace {

constexpr std::int32_t kMostLanes = 16;

std::int32_t whole(std::int32_t n) { return (n + kMostLanes - 1) / kMostLanes * kMostLanes; }

// Radices whose product is n, the fours first; the rest that has other factors is left.
std::int64_t factors(std::int64_t n, std::vector<std::int32_t>& radices) {
  for (const std::int32_t radix : {4, 2, 3, 5})
    for (; n % radix == 0 && n > 1; n /= radix) radices.push_back(radix);
  return n;
}

// Passes for n points; `twiddles` must outlive them.
Passes passes_of(std::int32_t n, std::vector<float>& twiddles) {
  std::vector<std::int32_t> radices;
  factors(n, radices);
  Passes passes{n, static_cast<std::int32_t>(radices.size()), {}, nullptr};
  for (std::size_t k = 0; k < radices.size(); ++k) {
    const std::int32_t radix = passes.radix[k] = radices[k], m = n / radix;
    for (std::int32_t p = 0; p < m; ++p)
      for (std::int32_t j = 1; j < radix; ++j) {
        const double angle = 2 * M_PI * p * j / n;
        twiddles.push_back(static_cast<float>(std::cos(angle)));
        twiddles.push_back(static_cast<float>(std::sin(angle)));
      }
    n = m;
  }
  passes.twiddles = twiddles.data();
  return passes;
}

// The memory of a thread; its plane begins as zeros.
class Scratch {
 public:
  explicit Scratch(const ImagePlan& plan) {
    const std::size_t box = plan.box, plane = 2 * box * plan.stride, line = 2 * kMostLanes * box;
    const std::size_t transposed = 2 * static_cast<std::size_t>(whole(plan.box / 2)) * plan.padded;
    memory_.resize(plane + transposed + 2 * line + kMostLanes);
    void* first = memory_.data();
    std::size_t room = memory_.size() * sizeof(float);
    float* at = static_cast<float*>(std::align(64, room - 64, first, room));
    all = {at, at + plane, {at + plane + transposed, at + plane + transposed + line}};
  }

 private:
  std::vector<float> memory_;

 public:
  ImageScratch all;
};

}  // namespace

bool image_box_is_quick(std::int64_t box) {
  std::vector<std::int32_t> radices;
  return box >= 2 && box % 2 == 0 && factors(box, radices) == 1;
}

void images(const ImageSamples& in, float* out, int threads) {
  const auto make_image = PYCRYO_SELECT(make_image);
  const std::vector<Run> runs = find_runs(in.kx, in.ky, in.n_pixel).runs;
  const std::int32_t box = in.box, stride = kMostLanes + whole(box / 2 + 1);
  std::vector<float> of_y, of_x, cosine(stride), sine(stride);
  for (std::int32_t k = 0; k < stride; ++k) {
    cosine[k] = static_cast<float>(std::cos(2 * M_PI * k / box));
    sine[k] = static_cast<float>(std::sin(2 * M_PI * k / box));
  }
  const ImagePlan plan{box,           stride,     whole(box), passes_of(box, of_y), passes_of(box / 2, of_x),
                       cosine.data(), sine.data()};
#pragma omp parallel num_threads(threads)
  {
    const Scratch scratch(plan);
#pragma omp for schedule(static)
    for (std::int64_t image = 0; image < in.n_image; ++image)
      make_image(in.samples + image * 2 * in.n_pixel, in.n_pixel, runs.data(), runs.data() + runs.size(), plan,
                 scratch.all, out + image * box * box);
  }
}

}  // namespace pycryo
