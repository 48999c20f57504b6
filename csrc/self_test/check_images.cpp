#include "case.hpp"
#include "pycryo/images.hpp"

namespace pycryo::self_test {

void check_images(Case& of) {
  const ImageSamples in{of.get<float>("samples"),   of.extent("samples", 0), of.get<std::int32_t>("kx"),
                        of.get<std::int32_t>("ky"), of.extent("kx", 0),      of.number<std::int32_t>("box")};
  std::vector<float> out(in.n_image * in.box * in.box);
  images(in, out.data(), of.threads());
  of.expect("out", out);
}

}  // namespace pycryo::self_test
