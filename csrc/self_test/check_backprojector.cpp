#include "insertion.hpp"
#include "pycryo/backprojector.hpp"

namespace pycryo::self_test {

void check_backprojector(Case& of) {
  const Insertion in(of);
  Sums sums(in.n_voxel());
  backproject(in.images, in.entries, in.slab, in.quanta, {sums.re.data(), sums.im.data(), sums.weight.data()},
              of.threads());
  sums.expect(of);
}

}  // namespace pycryo::self_test
