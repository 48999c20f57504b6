// Instruction sets: every kernel is compiled for each, the running one is chosen once per process.
#pragma once

namespace pycryo {

enum class Isa { baseline, avx2, avx512 };

// The best set that CPU and build offer, lowered by the environment variable PYCRYO_ISA
// (baseline | avx2 | avx512). Throws std::invalid_argument for an unknown name.
Isa active_isa();
const char* isa_name(Isa isa) noexcept;

}  // namespace pycryo

// PYCRYO_KERNEL(void f(int x)) declares f in every namespace pycryo::<isa>.
#ifdef PYCRYO_X86
#define PYCRYO_KERNEL(...)     \
  namespace pycryo::baseline { \
  __VA_ARGS__;                 \
  }                            \
  namespace pycryo::avx2 {     \
  __VA_ARGS__;                 \
  }                            \
  namespace pycryo::avx512 {   \
  __VA_ARGS__;                 \
  }
// The variant of kernel `f` for this process; use it once per call, outside the loops.
#define PYCRYO_SELECT(f)                           \
  (::pycryo::active_isa() == ::pycryo::Isa::avx512 \
       ? &::pycryo::avx512::f                      \
       : (::pycryo::active_isa() == ::pycryo::Isa::avx2 ? &::pycryo::avx2::f : &::pycryo::baseline::f))
#else
#define PYCRYO_KERNEL(...)     \
  namespace pycryo::baseline { \
  __VA_ARGS__;                 \
  }
#define PYCRYO_SELECT(f) (&::pycryo::baseline::f)
#endif
