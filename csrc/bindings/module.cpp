// The extension module pycryo._core: one bind_<kernel> per kernel of CMakeLists.txt.
#include <pybind11/pybind11.h>

#include "pycryo/isa.hpp"
#include "pycryo/kernel_list.hpp"

namespace py = pybind11;

#define X(kernel) void bind_##kernel(py::module_& module);
PYCRYO_FOR_EACH_KERNEL(X)
#undef X

PYBIND11_MODULE(_core, module) {
  module.doc() = "Compiled kernels of pycryo; call them through pycryo.<kernel>, which documents them.";
  module.def("isa", [] { return pycryo::isa_name(pycryo::active_isa()); }, "Name of the instruction set in use.");
  py::list kernels;
#define X(kernel)        \
  bind_##kernel(module); \
  kernels.append(#kernel);
  PYCRYO_FOR_EACH_KERNEL(X)
#undef X
  module.attr("kernels") = py::tuple(kernels);
}
