#include "case.hpp"
#include "pycryo/compare_local.hpp"

namespace pycryo::self_test {

void check_compare_local(Case& of) {
  const auto radius = static_cast<std::int32_t>(of.extent("volume", 2) - 1);
  const HalfVolume volumes[] = {{of.get<float>("volume"), radius}, {of.get<float>("other_volume"), radius}};
  const CompareLocal in{volumes,
                        of.get<std::int32_t>("classes"),
                        of.get<double>("rotations"),
                        of.get<double>("shifts"),
                        of.get<std::int64_t>("places"),
                        of.get<float>("images"),
                        of.get<float>("weights"),
                        of.extent("places", 0),
                        of.extent("rotations", 1),
                        of.extent("shifts", 1),
                        of.get<std::int32_t>("kx"),
                        of.get<std::int32_t>("ky"),
                        of.extent("kx", 0),
                        of.number<double>("box"),
                        of.number<double>("step")};
  std::vector<float> scores(in.n_image * in.n_rotation * in.n_shift);
  compare_local(in, scores.data(), of.threads());
  of.expect("scores", scores);
}

}  // namespace pycryo::self_test
