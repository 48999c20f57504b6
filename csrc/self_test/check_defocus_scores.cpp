#include "case.hpp"
#include "pycryo/defocus_scores.hpp"

namespace pycryo::self_test {

void check_defocus_scores(Case& of) {
  const DefocusImages in{of.get<float>("images"), of.get<float>("slices"), of.get<float>("weights"),
                         of.get<float>("sine"),   of.get<float>("cosine"), of.extent("images", 0),
                         of.extent("images", 1),  of.extent("images", 3),  of.get<std::int32_t>("bin"),
                         of.extent("phase", 1)};
  std::vector<double> sums(in.n_image * in.n_pose * in.n_bin * 4);
  defocus_sums(in, sums.data(), of.threads());
  const DefocusGrid grid{
      sums.data(), of.get<double>("phase"), of.get<double>("first"), of.get<double>("step"), in.n_image, in.n_pose,
      in.n_bin,    of.extent("scores", 2)};
  std::vector<double> scores(in.n_image * in.n_pose * grid.n_delta);
  defocus_scores(grid, scores.data(), of.threads());
  of.expect("scores", scores);
}

}  // namespace pycryo::self_test
