#include "case.hpp"
#include "pycryo/shift.hpp"

namespace pycryo::self_test {

void check_shift(Case& of) {
  const ShiftImages in{of.get<float>("images"),    of.extent("images", 0), of.get<std::int32_t>("kx"),
                       of.get<std::int32_t>("ky"), of.extent("kx", 0),     of.number<std::int32_t>("k_max"),
                       of.get<double>("shifts"),   of.extent("shifts", 1), of.number<double>("box")};
  std::vector<float> out(in.n_image * in.n_shift * 2 * in.n_pixel);
  shift(in, out.data(), of.threads());
  of.expect("out", out);
}

}  // namespace pycryo::self_test
