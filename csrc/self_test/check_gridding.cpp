#include "case.hpp"
#include "pycryo/gridding.hpp"

namespace pycryo::self_test {
namespace {

// All that is done to one layer, in turn.
template <class Real>
void check_layer(Case& of) {
  const std::int64_t width = of.extent("samples", 1), n_shell = of.extent("add", 0), n_voxel = of.extent("weight", 0);
  const GriddingLayer layer{of.get<std::int64_t>("start"),     of.number<std::int64_t>("radius"),
                            of.number<std::int64_t>("y"),      of.extent("samples", 0),
                            of.number<std::int64_t>("reach"),  of.number<std::int64_t>("inside"),
                            of.number<double>("shells_per_px")};
  const double *weight = of.get<double>("weight"), *add = of.get<double>("add"), *w = of.get<double>("w");

  std::vector<double> sums(n_shell * 2);
  gridding_shell_sums(layer, weight, n_shell, sums.data());
  of.expect("sums", sums);

  std::vector<double> first(n_voxel, -1);
  gridding_start(layer, weight, add, first.data());
  of.expect("first_w", first);

  std::vector<double> product(n_voxel);
  gridding_product(layer, weight, add, w, product.data());
  of.expect("product", product);

  std::vector<Real> placed(of.size("samples")), real(of.size("samples"));
  gridding_place(layer, of.get<double>("re"), of.get<double>("im"), placed.data(), width);
  gridding_place<Real>(layer, of.get<double>("re"), nullptr, real.data(), width);
  of.expect("placed", placed);
  of.expect("placed_real", real);

  of.expect("deviation", std::vector<double>{gridding_deviation(layer, of.get<Real>("samples"), width)});

  std::vector<double> divided = of.copy<double>("w");
  gridding_divide(layer, of.get<Real>("samples"), width, divided.data());
  of.expect("divided", divided);
}

template <class Real>
void check_plane(Case& of) {
  std::vector<Real> points = of.copy<Real>("points");
  gridding_scale(points.data(), of.extent("points", 0), of.extent("points", 1), of.get<Real>("along_y"),
                 of.get<Real>("along_x"));
  of.expect("scaled", points);
}

}  // namespace

void check_gridding(Case& of) {
  if (of.function() == "layer of floats") check_layer<float>(of);
  if (of.function() == "layer of doubles") check_layer<double>(of);
  if (of.function() == "plane of floats") check_plane<float>(of);
  if (of.function() == "plane of doubles") check_plane<double>(of);
}

}  // namespace pycryo::self_test
