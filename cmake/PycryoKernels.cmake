# Compiles every csrc/kernels/<k>.cpp once per instruction set, each time into namespace pycryo::<isa>, and what calls
# them (csrc/core) once. Sets PYCRYO_OBJECTS, of all of these.

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

set(kernel_flags -Wall -Wextra -fvisibility=hidden -fno-math-errno -fno-trapping-math -fopenmp-simd -fno-exceptions
                 -fno-rtti)
if(CMAKE_CXX_COMPILER_ID MATCHES Clang)
  # Clang forgets that the vectors behind references lie anywhere (csrc/kernels/tiles.cpp), and tells of loops that it
  # leaves as they are.
  list(APPEND kernel_flags -fmax-type-align=8 -Wno-pass-failed)
endif()

set(kernel_sources ${PYCRYO_KERNELS} ${PYCRYO_SHARED})
list(TRANSFORM kernel_sources PREPEND csrc/kernels/)
list(TRANSFORM kernel_sources APPEND .cpp)

set(PYCRYO_OBJECTS "")
foreach(isa IN LISTS PYCRYO_ISAS)
  add_library(kernels_${isa} OBJECT ${kernel_sources})
  target_include_directories(kernels_${isa} PRIVATE csrc/include)
  target_compile_definitions(kernels_${isa} PRIVATE PYCRYO_ISA=${isa} PYCRYO_ISA_${isa}=1 ${PYCRYO_ISA_DEFINITIONS})
  target_compile_options(kernels_${isa} PRIVATE ${kernel_flags} ${PYCRYO_FLAGS_${isa}})
  list(APPEND PYCRYO_OBJECTS $<TARGET_OBJECTS:kernels_${isa}>)
endforeach()

set(core_sources ${PYCRYO_KERNELS} ${PYCRYO_SHARED} isa runs)
list(TRANSFORM core_sources PREPEND csrc/core/)
list(TRANSFORM core_sources APPEND .cpp)
add_library(core OBJECT ${core_sources})
target_compile_options(core PRIVATE -fopenmp-simd) # without OpenMP its other lines are no unknown ones
list(APPEND PYCRYO_OBJECTS $<TARGET_OBJECTS:core>)

# Settings of all that calls the kernels.
function(pycryo_calls_kernels target)
  target_include_directories(${target} PRIVATE csrc/include ${CMAKE_CURRENT_BINARY_DIR}/generated)
  target_compile_definitions(${target} PRIVATE ${PYCRYO_ISA_DEFINITIONS})
  target_compile_options(${target} PRIVATE -Wall -Wextra -fvisibility=hidden)
  if(OpenMP_CXX_FOUND)
    target_link_libraries(${target} PRIVATE OpenMP::OpenMP_CXX)
  endif()
endfunction()
pycryo_calls_kernels(core)

# Lists of kernels for the preprocessor
foreach(list IN ITEMS PYCRYO_KERNELS PYCRYO_SHARED)
  set(${list}_LIST "")
  foreach(kernel IN LISTS ${list})
    string(APPEND ${list}_LIST "X(${kernel}) ")
  endforeach()
endforeach()
configure_file(cmake/kernel_list.hpp.in generated/pycryo/kernel_list.hpp @ONLY)
