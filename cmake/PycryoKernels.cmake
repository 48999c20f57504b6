# Compiles every csrc/kernels/<k>.cpp once per instruction set, each time into namespace pycryo::<isa>.
# Sets PYCRYO_ISA_OBJECTS and PYCRYO_ISA_DEFINITIONS.

set(PYCRYO_ISAS baseline)
set(PYCRYO_FLAGS_baseline "")
set(PYCRYO_ISA_DEFINITIONS "")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  list(APPEND PYCRYO_ISAS avx2 avx512)
  set(PYCRYO_FLAGS_avx2 -mavx2 -mfma)
  set(PYCRYO_FLAGS_avx512 -mavx512f -mavx512dq -mavx512bw -mavx512vl -mfma -mprefer-vector-width=512)
  list(APPEND PYCRYO_ISA_DEFINITIONS PYCRYO_X86=1)
endif()
if(PYCRYO_NATIVE)
  set(PYCRYO_FLAGS_baseline -march=native)
endif()

set(kernel_sources ${PYCRYO_KERNELS} ${PYCRYO_SHARED})
list(TRANSFORM kernel_sources PREPEND csrc/kernels/)
list(TRANSFORM kernel_sources APPEND .cpp)

set(PYCRYO_ISA_OBJECTS "")
foreach(isa IN LISTS PYCRYO_ISAS)
  add_library(kernels_${isa} OBJECT ${kernel_sources})
  target_include_directories(kernels_${isa} PRIVATE csrc/include)
  target_compile_definitions(kernels_${isa} PRIVATE PYCRYO_ISA=${isa} PYCRYO_ISA_${isa}=1 ${PYCRYO_ISA_DEFINITIONS})
  target_compile_options(
    kernels_${isa} PRIVATE -Wall -Wextra -fvisibility=hidden -fno-math-errno -fno-trapping-math -fopenmp-simd
                           -fno-exceptions -fno-rtti ${PYCRYO_FLAGS_${isa}})
  list(APPEND PYCRYO_ISA_OBJECTS $<TARGET_OBJECTS:kernels_${isa}>)
endforeach()
