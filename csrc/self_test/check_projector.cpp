#include "case.hpp"
#include "pycryo/projector.hpp"

namespace pycryo::self_test {

void check_projector(Case& of) {
  const ProjectSlices in{{of.get<float>("volume"), static_cast<std::int32_t>(of.extent("volume", 2) - 1)},
                         of.get<double>("rotations"),
                         of.find<double>("curvature"),
                         of.extent("rotations", 0),
                         of.get<std::int32_t>("kx"),
                         of.get<std::int32_t>("ky"),
                         of.extent("kx", 0),
                         of.number<double>("step")};
  std::vector<float> out(in.n_slice * 2 * in.n_pixel);
  project_slices(in, out.data(), of.threads());
  of.expect("out", out);
}

}  // namespace pycryo::self_test
