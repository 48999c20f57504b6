# The program that calls every kernel with vectors of the tests; the session `aarch64` of noxfile.py runs it.

if(PYCRYO_SELF_TEST)
  set(check_sources ${PYCRYO_KERNELS} ${PYCRYO_SHARED})
  list(TRANSFORM check_sources PREPEND csrc/self_test/check_)
  list(TRANSFORM check_sources APPEND .cpp)
  add_executable(pycryo_self_test csrc/self_test/main.cpp csrc/self_test/case.cpp ${check_sources} ${PYCRYO_OBJECTS})
  target_compile_options(pycryo_self_test PRIVATE -fopenmp-simd)
  pycryo_calls_kernels(pycryo_self_test)
endif()
