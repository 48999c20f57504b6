#include "pycryo/projector.hpp"

#include "trilinear.hpp"

namespace pycryo::PYCRYO_ISA {

void sample_slice(const HalfVolume& volume, const SlicePlane& plane, const float* kx, const float* ky, int count,
                  float* re, float* im) noexcept {
  sample_chunk(volume, plane, kx, ky, count, re, im);
}

}  // namespace pycryo::PYCRYO_ISA
