#include "check.hpp"
#include "pycryo/images.hpp"

namespace pycryo::bindings {

static void images_into(const Array<float>& samples, const Array<std::int32_t>& kx, const Array<std::int32_t>& ky,
                        std::int32_t box, Array<float> out, int threads) {
  check_shape(samples, "samples", {-1, 2, -1});
  const auto n_image = samples.shape(0), n_pixel = samples.shape(2);
  check_shape(kx, "kx", {n_pixel});
  check_shape(ky, "ky", {n_pixel});
  check_shape(out, "out", {n_image, box, box});
  check_positive(threads, "threads");
  if (!image_box_is_quick(box))
    throw input_error("box: expected an even product of 2, 3 and 5, got " + std::to_string(box));
  check_index_range(kx, "kx", 0, box / 2 - 1);
  check_index_range(ky, "ky", 1 - box / 2, box / 2 - 1);
  const ImageSamples in{samples.data(), n_image, kx.data(), ky.data(), n_pixel, box};
  float* made = out.mutable_data();
  py::gil_scoped_release release;
  images(in, made, threads);
}

}  // namespace pycryo::bindings

void bind_images(pybind11::module_& module) {
  using namespace pybind11::literals;
  module.def("images", &pycryo::bindings::images_into, "samples"_a.noconvert(), "kx"_a.noconvert(), "ky"_a.noconvert(),
             "box"_a, "out"_a.noconvert(), "threads"_a);
  module.def("image_box_is_quick", &pycryo::image_box_is_quick, "box"_a);
}
