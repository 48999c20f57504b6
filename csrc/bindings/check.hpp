// Argument checks shared by the bindings: each failure names the argument, what was expected and what came.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <initializer_list>
#include <stdexcept>
#include <string>

namespace pycryo::bindings {

namespace py = pybind11;

template <class T>
using Array = py::array_t<T, py::array::c_style>;

// pycryo.errors.InputError: throw it.
inline py::error_already_set input_error(const std::string& message) {
  py::set_error(py::module_::import("pycryo.errors").attr("InputError"), message.c_str());
  return py::error_already_set();
}

inline std::string shape_text(const py::array& array) {
  std::string text = "(";
  for (py::ssize_t i = 0; i < array.ndim(); ++i) text += (i ? ", " : "") + std::to_string(array.shape(i));
  return text + ")";
}

// Throws InputError unless `array` has exactly the shape `expected`; -1 accepts any extent.
inline void check_shape(const py::array& array, const char* name, std::initializer_list<py::ssize_t> expected) {
  bool good = array.ndim() == static_cast<py::ssize_t>(expected.size());
  std::string text = "(";
  py::ssize_t i = 0;
  for (py::ssize_t extent : expected) {
    if (good && extent >= 0 && array.shape(i) != extent) good = false;
    text += (i ? ", " : "") + (extent < 0 ? std::string("any") : std::to_string(extent));
    ++i;
  }
  if (!good) throw input_error(std::string(name) + ": expected shape " + text + "), got " + shape_text(array));
}

// Throws InputError unless low <= every element <= high.
template <class T>
void check_index_range(const Array<T>& array, const char* name, T low, T high) {
  const T* data = array.data();
  for (py::ssize_t i = 0; i < array.size(); ++i)
    if (data[i] < low || data[i] > high)
      throw input_error(std::string(name) + ": element " + std::to_string(i) + " is " + std::to_string(data[i]) +
                        ", expected " + std::to_string(low) + " to " + std::to_string(high));
}

inline void check_positive(long long value, const char* name) {
  if (value < 1) throw input_error(std::string(name) + ": expected at least 1, got " + std::to_string(value));
}

// Of surfaces in Fourier space; an empty array: they are flat, null.
inline const double* check_curvature(const Array<double>& curvature, py::ssize_t n) {
  check_shape(curvature, "curvature", {-1});
  if (curvature.shape(0) == 0) return nullptr;
  check_shape(curvature, "curvature", {n});
  return curvature.data();
}

}  // namespace pycryo::bindings
