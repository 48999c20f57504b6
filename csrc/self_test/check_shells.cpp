#include "case.hpp"
#include "pycryo/shells.hpp"

namespace pycryo::self_test {
namespace {

template <class Real>
void check_layers(Case& of) {
  const std::int64_t n_layer = of.extent("a", 0), n_shell = of.extent("out", 1);
  std::vector<double> out(n_layer * n_shell * 3);
  layer_shells(of.get<Real>("a"), of.get<Real>("b"), of.get<std::int64_t>("number"), n_layer, of.extent("a", 1),
               n_shell, out.data(), of.threads());
  of.expect("out", out);
}

}  // namespace

void check_shells(Case& of) {
  if (of.function() == "layer_shells of floats") return check_layers<float>(of);
  if (of.function() == "layer_shells of doubles") return check_layers<double>(of);
  const std::int64_t n_image = of.extent("a", 0), n_shell = of.extent("out", 1);
  std::vector<double> out(n_image * n_shell * 3);
  image_shells(of.get<float>("a"), of.get<float>("b"), n_image, of.extent("a", 2), of.get<std::int32_t>("shell"),
               n_shell, out.data(), of.threads());
  of.expect("out", out);
}

}  // namespace pycryo::self_test
