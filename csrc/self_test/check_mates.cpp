#include "case.hpp"
#include "pycryo/mates.hpp"

namespace pycryo::self_test {

void check_mates(Case& of) {
  const std::int32_t radius = of.number<std::int32_t>("radius"), *layers = of.get<std::int32_t>("layers");
  const auto* start = of.get<std::int64_t>("start");
  std::vector<double> target = of.copy<double>("before");
  add_mates(of.get<std::int32_t>("rotation"), of.number<std::uint8_t>("is_imaginary"),
            {start, radius, layers[0], layers[1]}, of.get<double>("source"), {start, radius, layers[2], layers[3]},
            target.data(), of.threads());
  of.expect("target", target);
}

}  // namespace pycryo::self_test
