// Arguments of the kernels that insert images, of a case.
#pragma once

#include "case.hpp"
#include "pycryo/tiles.hpp"

namespace pycryo::self_test {

struct Insertion {
  InsertImages images;
  InsertEntries entries;
  InsertSlab slab;
  Quanta quanta;

  explicit Insertion(const Case& of)
      : images{of.get<float>("images"),           of.get<float>("weights"), of.get<std::int32_t>("kx"),
               of.get<std::int32_t>("ky"),        of.extent("kx", 0),       of.number<double>("box"),
               of.number<double>("magnification")},
        entries{of.get<std::int64_t>("entry_image"), of.get<double>("rotations"),  of.get<double>("shifts"),
                of.get<double>("entry_weight"),      of.find<double>("curvature"), of.extent("entry_image", 0)},
        slab{of.get<std::int64_t>("start"), of.number<std::int32_t>("radius"), of.number<std::int32_t>("first"),
             of.number<std::int32_t>("last")},
        quanta{of.number<double>("quantum"), of.number<double>("quantum")} {}

  std::int64_t layers() const { return 2 * std::int64_t{slab.radius} + 1; }
  std::int64_t first_voxel() const { return slab.start[slab.first * layers()]; }
  std::int64_t n_voxel() const { return slab.start[slab.last * layers()] - first_voxel(); }
};

struct Sums {
  std::vector<double> re, im, weight;

  explicit Sums(std::int64_t n) : re(n), im(n), weight(n) {}

  void expect(Case& of) const {
    of.expect("re", re);
    of.expect("im", im);
    of.expect("weight", weight);
  }
};

}  // namespace pycryo::self_test
