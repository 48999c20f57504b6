#include "pycryo/isa.hpp"

#include <cstdlib>
#include <stdexcept>
#include <string>

namespace pycryo {
namespace {

Isa best_isa() {
#ifdef PYCRYO_X86
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl"))
    return Isa::avx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Isa::avx2;
#endif
  return Isa::baseline;
}

Isa choose_isa() {
  const Isa best = best_isa();
  const char* wish = std::getenv("PYCRYO_ISA");
  if (wish == nullptr || *wish == '\0') return best;
  for (Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512})
    if (std::string(wish) == isa_name(isa)) return isa < best ? isa : best;
  throw std::invalid_argument(std::string("PYCRYO_ISA=") + wish + " is unknown: use baseline, avx2 or avx512");
}

}  // namespace

Isa active_isa() {
  static const Isa isa = choose_isa();
  return isa;
}

const char* isa_name(Isa isa) noexcept {
  switch (isa) {
    case Isa::avx512:
      return "avx512";
    case Isa::avx2:
      return "avx2";
    default:
      return "baseline";
  }
}

}  // namespace pycryo
