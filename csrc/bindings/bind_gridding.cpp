#include <algorithm>
#include <cmath>
#include <string>

#include "check.hpp"
#include "pycryo/gridding.hpp"

namespace pycryo::bindings {

using Starts = Array<std::int64_t>;

// Checks everything but n, which the samples bring.
static GriddingLayer layer_of(const Starts& start, std::int64_t y, std::int64_t reach, std::int64_t inside,
                              double shells_per_px) {
  check_shape(start, "start", {-1});
  if (start.shape(0) % 2) throw input_error("start: expected a row for each z = -r ... r, and an end");
  const std::int64_t rows = start.shape(0) - 1, radius = rows / 2;
  const std::int64_t* numbers = start.data();
  if (!std::is_sorted(numbers, numbers + rows + 1)) throw input_error("start: expected ascending numbers");
  if (y < -radius || y > radius || reach < 0 || reach > radius)
    throw input_error("y, reach: expected up to " + std::to_string(radius) + ", got " + std::to_string(y) + ", " +
                      std::to_string(reach));
  if (!(shells_per_px > 0))
    throw input_error("shells_per_px: expected a positive number, got " + std::to_string(shells_per_px));
  return {numbers, radius, y, 0, reach, inside, shells_per_px};
}

static void check_voxels(const Array<double>& values, const char* name, const Starts& start) {
  check_shape(values, name, {static_cast<py::ssize_t>(start.data()[start.shape(0) - 1] - start.data()[0])});
}

// Throws ValueError unless the shells of all voxels within reach are below n_shell.
static void check_shells(const GriddingLayer& layer, py::ssize_t n_shell) {
  if (std::abs(layer.y) > layer.reach) return;
  std::int64_t farthest = 0;
  for (std::int64_t z = -layer.reach; z <= layer.reach; ++z) {
    const std::int64_t* row = layer.start + z + layer.radius;
    const std::int64_t last = std::min(row[1] - row[0], layer.reach + 1) - 1;
    if (last >= 0) farthest = std::max(farthest, layer.y * layer.y + z * z + last * last);
  }
  const double shell = std::rint(std::sqrt(static_cast<double>(farthest)) * layer.shells_per_px);
  if (!(shell < static_cast<double>(n_shell)))
    throw input_error("shells: expected at least " + std::to_string(static_cast<std::int64_t>(shell) + 1) + ", got " +
                      std::to_string(n_shell));
}

template <class Real>
static std::int64_t check_samples(const Array<Real>& samples, GriddingLayer& layer) {
  check_shape(samples, "samples", {-1, -1, 2});
  layer.n = samples.shape(0);
  if (layer.n <= 2 * layer.reach)
    throw input_error("samples: expected more than " + std::to_string(2 * layer.reach) + " rows, got " +
                      std::to_string(layer.n));
  return samples.shape(1);
}

static void shell_sums_into(const Starts& start, std::int64_t y, std::int64_t reach, std::int64_t inside,
                            double shells_per_px, const Array<double>& weight, Array<double> sums) {
  const GriddingLayer layer = layer_of(start, y, reach, inside, shells_per_px);
  check_voxels(weight, "weight", start);
  check_shape(sums, "sums", {-1, 2});
  check_shells(layer, sums.shape(0));
  const double* values = weight.data();
  double* out = sums.mutable_data();
  const auto n_shell = sums.shape(0);
  py::gil_scoped_release release;
  gridding_shell_sums(layer, values, n_shell, out);
}

static void start_into(const Starts& start, std::int64_t y, std::int64_t reach, std::int64_t inside,
                       double shells_per_px, const Array<double>& weight, const Array<double>& add, Array<double> w) {
  const GriddingLayer layer = layer_of(start, y, reach, inside, shells_per_px);
  check_voxels(weight, "weight", start);
  check_voxels(w, "w", start);
  check_shape(add, "add", {-1});
  check_shells(layer, add.shape(0));
  const double *values = weight.data(), *table = add.data();
  double* out = w.mutable_data();
  py::gil_scoped_release release;
  gridding_start(layer, values, table, out);
}

static void product_into(const Starts& start, std::int64_t y, std::int64_t reach, std::int64_t inside,
                         double shells_per_px, const Array<double>& weight, const Array<double>& add,
                         const Array<double>& w, Array<double> product) {
  const GriddingLayer layer = layer_of(start, y, reach, inside, shells_per_px);
  check_voxels(weight, "weight", start);
  check_voxels(w, "w", start);
  check_voxels(product, "product", start);
  check_shape(add, "add", {-1});
  check_shells(layer, add.shape(0));
  const double *values = weight.data(), *table = add.data(), *factor = w.data();
  double* out = product.mutable_data();
  py::gil_scoped_release release;
  gridding_product(layer, values, table, factor, out);
}

template <class Real>
static void place_into(const Starts& start, std::int64_t y, std::int64_t reach, std::int64_t inside,
                       double shells_per_px, const Array<double>& re, const py::object& im, Array<Real> samples) {
  GriddingLayer layer = layer_of(start, y, reach, inside, shells_per_px);
  check_voxels(re, "re", start);
  const double* imaginary = nullptr;
  if (!im.is_none()) {
    if (!py::isinstance<Array<double>>(im)) throw input_error("im: expected a C-contiguous array of float64");
    check_voxels(py::reinterpret_borrow<Array<double>>(im), "im", start);
    imaginary = py::reinterpret_borrow<Array<double>>(im).data();
  }
  const auto width = check_samples(samples, layer);
  const double* real = re.data();
  Real* out = samples.mutable_data();
  py::gil_scoped_release release;
  gridding_place(layer, real, imaginary, out, width);
}

template <class Real>
static double deviation_of(const Starts& start, std::int64_t y, std::int64_t reach, std::int64_t inside,
                           double shells_per_px, const Array<Real>& samples) {
  GriddingLayer layer = layer_of(start, y, reach, inside, shells_per_px);
  const auto width = check_samples(samples, layer);
  const Real* values = samples.data();
  py::gil_scoped_release release;
  return gridding_deviation(layer, values, width);
}

template <class Real>
static void divide_into(const Starts& start, std::int64_t y, std::int64_t reach, std::int64_t inside,
                        double shells_per_px, const Array<Real>& samples, Array<double> w) {
  GriddingLayer layer = layer_of(start, y, reach, inside, shells_per_px);
  check_voxels(w, "w", start);
  const auto width = check_samples(samples, layer);
  const Real* values = samples.data();
  double* out = w.mutable_data();
  py::gil_scoped_release release;
  gridding_divide(layer, values, width, out);
}

template <class Real>
static void scale_in_place(Array<Real> points, const Array<Real>& along_y, const Array<Real>& along_x) {
  check_shape(points, "points", {-1, -1});
  check_shape(along_y, "along_y", {points.shape(0)});
  check_shape(along_x, "along_x", {points.shape(1)});
  const auto n_y = points.shape(0), n_x = points.shape(1);
  const Real *of_row = along_y.data(), *of_column = along_x.data();
  Real* values = points.mutable_data();
  py::gil_scoped_release release;
  gridding_scale(values, n_y, n_x, of_row, of_column);
}

template <class Real>
static void bind_samples(py::module_& module) {
  using namespace py::literals;
  module.def("gridding_place", &place_into<Real>, "start"_a.noconvert(), "y"_a, "reach"_a, "inside"_a,
             "shells_per_px"_a, "re"_a.noconvert(), "im"_a, "samples"_a.noconvert());
  module.def("gridding_deviation", &deviation_of<Real>, "start"_a.noconvert(), "y"_a, "reach"_a, "inside"_a,
             "shells_per_px"_a, "samples"_a.noconvert());
  module.def("gridding_divide", &divide_into<Real>, "start"_a.noconvert(), "y"_a, "reach"_a, "inside"_a,
             "shells_per_px"_a, "samples"_a.noconvert(), "w"_a.noconvert());
  module.def("gridding_scale", &scale_in_place<Real>, "points"_a.noconvert(), "along_y"_a.noconvert(),
             "along_x"_a.noconvert());
}

}  // namespace pycryo::bindings

void bind_gridding(pybind11::module_& module) {
  using namespace pybind11::literals;
  module.def("gridding_shell_sums", &pycryo::bindings::shell_sums_into, "start"_a.noconvert(), "y"_a, "reach"_a,
             "inside"_a, "shells_per_px"_a, "weight"_a.noconvert(), "sums"_a.noconvert());
  module.def("gridding_start", &pycryo::bindings::start_into, "start"_a.noconvert(), "y"_a, "reach"_a, "inside"_a,
             "shells_per_px"_a, "weight"_a.noconvert(), "add"_a.noconvert(), "w"_a.noconvert());
  module.def("gridding_product", &pycryo::bindings::product_into, "start"_a.noconvert(), "y"_a, "reach"_a, "inside"_a,
             "shells_per_px"_a, "weight"_a.noconvert(), "add"_a.noconvert(), "w"_a.noconvert(),
             "product"_a.noconvert());
  pycryo::bindings::bind_samples<float>(module);
  pycryo::bindings::bind_samples<double>(module);
}
