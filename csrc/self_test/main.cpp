// Calls all kernels with vectors whose results are known (tests/kernel_vectors.py), on one thread and on three: for
// machines without Python, and those that an emulator stands for. Prints a line for each kernel, with a digest of the
// bits that it made, and one at the end. Exit code 1: a result is wrong; 2: the vectors cannot be used.
#include <cstdio>
#include <exception>

#include "case.hpp"
#include "pycryo/isa.hpp"
#include "pycryo/kernel_list.hpp"

namespace pycryo::self_test {

#define X(kernel) void check_##kernel(Case& of);
PYCRYO_FOR_EACH_KERNEL(X)
PYCRYO_FOR_EACH_SHARED(X)
#undef X

namespace {

using Check = void (*)(Case&);

// Returns whether all cases of a kernel came out as expected, of which there are some.
bool check(const char* kernel, Check run, std::vector<Case>& cases) {
  std::int64_t n = 0, compared = 0;
  double worst = 0;
  std::uint64_t digest = 0;
  std::vector<std::string> failures;
  for (Case& of : cases) {
    if (of.kernel() != kernel) continue;
    of.begin(1);
    run(of);
    of.end();
    const std::uint64_t one = of.digest();
    of.begin(3);
    run(of);
    of.end();
    of.require(of.digest() == one, "other bits than on one thread");
    failures.insert(failures.end(), of.failures().begin(), of.failures().end());
    worst = worst > of.worst() ? worst : of.worst();
    compared += of.compared();
    digest = digest * 31 + one;
    ++n;
  }
  if (n == 0) failures.push_back("no case");
  std::printf("%-15s %3lld cases %9lld numbers  off by %.0e of the tolerance  bits %016llx  %s\n", kernel,
              static_cast<long long>(n), static_cast<long long>(compared), worst,
              static_cast<unsigned long long>(digest), failures.empty() ? "ok" : "FAILED");
  for (std::size_t i = 0; i < failures.size() && i < 3; ++i) std::printf("    %s\n", failures[i].c_str());
  return failures.empty();
}

int check_all(const char* path) {
  const struct {
    const char* kernel;
    Check run;
  } checks[] = {
#define X(kernel) {#kernel, check_##kernel},
      PYCRYO_FOR_EACH_KERNEL(X) PYCRYO_FOR_EACH_SHARED(X)
#undef X
  };
  std::vector<Case> cases = read_cases(path);
  int n = 0, failed = 0;
  for (const auto& [kernel, run] : checks) {
    failed += !check(kernel, run, cases);
    ++n;
  }
  std::printf("%d of %d kernels as expected, instruction set %s\n", n - failed, n, isa_name(active_isa()));
  return failed > 0;
}

}  // namespace
}  // namespace pycryo::self_test

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s FILE, written by tests/kernel_vectors.py\n", argv[0]);
    return 2;
  }
  try {
    return pycryo::self_test::check_all(argv[1]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
}
