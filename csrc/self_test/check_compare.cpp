#include <cmath>
#include <limits>

#include "case.hpp"
#include "pycryo/compare.hpp"

namespace pycryo::self_test {
namespace {

// Floats aligned to 64 bytes.
class Aligned {
 public:
  explicit Aligned(std::int64_t n) : memory_(n + 16) {}
  float* data() { return memory_.data() + (64 - reinterpret_cast<std::uintptr_t>(memory_.data()) % 64) % 64 / 4; }

 private:
  std::vector<float> memory_;
};

// What is kept of the scores of n images.
struct Best {
  std::vector<float> score;
  std::vector<std::int64_t> index;
  std::vector<double> log_max, log_sum;

  Best(std::int64_t n, std::int64_t n_best)
      : score(n * n_best, -std::numeric_limits<float>::infinity()),
        index(n * n_best, -1),
        log_max(n, -std::numeric_limits<double>::infinity()),
        log_sum(n) {}

  std::vector<double> log_evidence() const {
    std::vector<double> sums;
    for (std::size_t i = 0; i < log_max.size(); ++i) sums.push_back(log_max[i] + std::log(log_sum[i]));
    return sums;
  }
};

}  // namespace

void check_compare(Case& of) {
  const std::int64_t n_image = of.extent("images", 0), n_shift = of.extent("images", 1);
  const std::int64_t n_pixel = of.extent("images", 3), n_slice = of.extent("slices", 0);
  const std::int64_t n_column = (n_slice + cell_slices - 1) / cell_slices * cell_slices;
  std::vector<float> rows(of.size("images"));
  const ImagePanel panel{rows.data(), of.get<float>("weights"),          n_image, n_shift,
                         n_pixel,     of.number<std::int64_t>("n_group")};
  compare_pack_images(of.get<float>("images"), panel, rows.data(), of.threads());
  Aligned columns(n_column * 2 * n_pixel), norms(n_column * n_pixel);
  compare_pack_slices(of.get<float>("slices"), n_slice, n_pixel, columns.data(), norms.data(), of.threads());
  const CompareTask task{{columns.data(), norms.data(), n_slice},
                         0,
                         of.find<float>("prior_shift"),
                         of.find<float>("prior_slice"),
                         of.find<std::uint8_t>("active")};

  if (task.active == nullptr) {
    std::vector<float> scores(n_image * n_shift * n_slice);
    compare_scores(panel, task, scores.data(), of.threads());
    of.expect("scores", scores);
  }
  const std::int64_t n_best = of.extent("score", 1);
  Best best(n_image, n_best);
  compare(panel, task,
          {best.score.data(), best.index.data(), n_best, best.log_max.data(), best.log_sum.data(),
           std::numeric_limits<float>::infinity(), 0},
          of.threads());
  of.expect("score", best.score);
  of.expect("index", best.index);
  of.expect("log_evidence", best.log_evidence());
}

}  // namespace pycryo::self_test
