#include "pycryo/ctf.hpp"

#include <algorithm>
#include <vector>

namespace pycryo {
namespace {

// Rows of `offset` as turns, which all images share.
std::vector<std::int32_t> offset_turns(const CtfOffsets& offsets, std::int64_t n_image, std::int64_t n_pixel,
                                       int threads) {
  const auto ctf_turns = PYCRYO_SELECT(ctf_turns);
  const std::int64_t n_offset = n_image ? *std::max_element(offsets.which, offsets.which + n_image) + 1 : 0;
  std::vector<std::int32_t> turns(static_cast<std::size_t>(n_offset * n_pixel));
#pragma omp parallel for num_threads(threads) schedule(static)
  for (std::int64_t row = 0; row < n_offset; ++row)
    ctf_turns(offsets.offset + row * n_pixel, n_pixel, turns.data() + row * n_pixel);
  return turns;
}

// The memory of the tables of one image at a time.
class Tables {
 public:
  explicit Tables(const Runs& runs)
      : n_column_(static_cast<std::size_t>(runs.x_last - runs.x_first) + 1 + 16),
        n_row_(static_cast<std::size_t>(runs.y_last - runs.y_first) + 1),
        turns_(n_column_),
        fractions_(3 * n_row_),
        envelopes_(n_column_ + n_row_),
        all{runs.x_first,
            runs.y_first,
            static_cast<std::int64_t>(n_column_),
            static_cast<std::int64_t>(n_row_),
            turns_.data(),
            fractions_.data(),
            fractions_.data() + n_row_,
            fractions_.data() + 2 * n_row_,
            envelopes_.data(),
            envelopes_.data() + n_column_} {}

 private:
  std::size_t n_column_, n_row_;
  std::vector<std::int32_t> turns_;
  std::vector<std::uint64_t> fractions_;
  std::vector<float> envelopes_;

 public:
  const CtfTables all;
};

}  // namespace

void ctf(const CtfCoefficients* coefficients, std::int64_t n_image, const std::int32_t* kx, const std::int32_t* ky,
         std::int64_t n_pixel, const CtfOffsets& offsets, float* out, int threads) {
  if (n_image == 0 || n_pixel == 0) return;
  const auto ctf_tables = PYCRYO_SELECT(ctf_tables);
  const auto ctf_rows = PYCRYO_SELECT(ctf_rows);
  const Runs runs = find_runs(kx, ky, n_pixel);
  const std::vector<std::int32_t> turns = offset_turns(offsets, n_image, n_pixel, threads);
  constexpr std::int64_t least = 4096;  // samples of a part: each computes the tables anew
  const std::int64_t n_part = n_image < 4 * threads ? (n_pixel + least - 1) / least : 1;
#pragma omp parallel num_threads(threads)
  {
    const Tables tables(runs);
#pragma omp for schedule(static) nowait
    for (std::int64_t work = 0; work < n_image * n_part; ++work) {
      const std::int64_t image = work / n_part, which = offsets.which[image];
      ctf_tables(coefficients[image], tables.all);
      const Runs::Part part = runs.part(work % n_part, n_part);
      ctf_rows(coefficients[image], tables.all, part.begin, part.end,
               which < 0 ? nullptr : turns.data() + which * n_pixel, out + image * n_pixel);
    }
  }
}

}  // namespace pycryo
