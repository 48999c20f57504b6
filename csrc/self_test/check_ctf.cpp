#include "case.hpp"
#include "pycryo/ctf.hpp"

namespace pycryo::self_test {

void check_ctf(Case& of) {
  static_assert(sizeof(CtfCoefficients) == 7 * sizeof(double));
  const std::int64_t n_image = of.extent("coefficients", 0), n_pixel = of.extent("kx", 0);
  std::vector<float> out(n_image * n_pixel);
  ctf(reinterpret_cast<const CtfCoefficients*>(of.get<double>("coefficients")), n_image, of.get<std::int32_t>("kx"),
      of.get<std::int32_t>("ky"), n_pixel, {of.get<double>("offset"), of.get<std::int32_t>("which")}, out.data(),
      of.threads());
  of.expect("out", out);
}

}  // namespace pycryo::self_test
