// A call of a kernel whose results are known: arguments and results by name, as tests/kernel_vectors.py writes them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace pycryo::self_test {

struct Array {
  std::string type;  // NumPy's: f4, f8, i4, i8 or u1
  std::vector<std::int64_t> shape;
  double tolerance;                  // greatest difference of a result; below 0: an argument
  std::vector<std::uint64_t> words;  // that hold the values

  std::int64_t size() const;
};

// NumPy's name of a type of numbers.
template <class T>
const char* type_name();

class Case {
 public:
  Case(std::string kernel, std::string function, std::map<std::string, Array> arrays);

  const std::string& kernel() const { return kernel_; }
  const std::string& function() const { return function_; }
  int threads() const { return threads_; }

  // Values of an argument; `find` returns null where the case has no such argument. Throw std::runtime_error for
  // another type of numbers, `get`, `number` and `extent` also for an argument that is missing.
  template <class T>
  const T* find(const std::string& name) const;
  template <class T>
  const T* get(const std::string& name) const;
  template <class T>
  T number(const std::string& name) const {
    return *get<T>(name);
  }
  std::int64_t extent(const std::string& name, std::size_t axis) const;
  std::int64_t size(const std::string& name) const;
  // An argument that the kernel changes.
  template <class T>
  std::vector<T> copy(const std::string& name) const {
    return {get<T>(name), get<T>(name) + size(name)};
  }

  // A call on so many threads begins, or has ended.
  void begin(int threads);
  void end();

  // What the kernel made, to be compared with the result of that name.
  template <class T>
  void expect(const std::string& name, const std::vector<T>& found);
  void require(bool is_so, const std::string& what);

  const std::vector<std::string>& failures() const { return failures_; }
  std::int64_t compared() const { return compared_; }  // numbers
  double worst() const { return worst_; }              // difference, in units of its tolerance
  std::uint64_t digest() const { return digest_; }     // of all bits that the last call made

 private:
  const Array& array(const std::string& name) const;

  std::string kernel_, function_;
  std::map<std::string, Array> arrays_;
  int threads_ = 1;
  std::vector<std::string> failures_, seen_;
  std::int64_t compared_ = 0;
  double worst_ = 0;
  std::uint64_t digest_ = 0;
};

// Throws std::runtime_error for a file that cannot be read, or is no file of cases.
std::vector<Case> read_cases(const std::string& path);

}  // namespace pycryo::self_test
