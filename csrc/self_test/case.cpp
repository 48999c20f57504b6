#include "case.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <functional>
#include <numeric>
#include <stdexcept>

namespace pycryo::self_test {
namespace {

constexpr std::uint64_t no_digest = 0xcbf29ce484222325u;  // FNV-1a, 64 bits

std::uint64_t add_bytes(std::uint64_t digest, const void* values, std::size_t n) {
  const auto* bytes = static_cast<const unsigned char*>(values);
  for (std::size_t i = 0; i < n; ++i) digest = (digest ^ bytes[i]) * 0x100000001b3u;
  return digest;
}

class Reader {
 public:
  explicit Reader(const std::string& path) : file_(path, std::ios::binary), path_(path) {
    if (!file_) throw std::runtime_error(path + ": cannot be opened");
  }

  void read(void* to, std::size_t n) {
    if (!file_.read(static_cast<char*>(to), static_cast<std::streamsize>(n)))
      throw std::runtime_error(path_ + ": ends too early");
  }

  template <class T>
  T number() {
    T value;
    read(&value, sizeof value);
    return value;
  }

  std::string text() {
    std::string value(number<std::uint32_t>(), ' ');
    read(value.data(), value.size());
    return value;
  }

  Array array() {
    Array value;
    value.type = text();
    value.tolerance = number<double>();
    value.shape.resize(number<std::uint32_t>());
    for (std::int64_t& extent : value.shape) extent = number<std::int64_t>();
    const std::size_t bytes = static_cast<std::size_t>(value.size()) * static_cast<std::size_t>(value.type[1] - '0');
    value.words.resize((bytes + 7) / 8);
    read(value.words.data(), bytes);
    return value;
  }

 private:
  std::ifstream file_;
  std::string path_;
};

}  // namespace

template <>
const char* type_name<float>() {
  return "f4";
}
template <>
const char* type_name<double>() {
  return "f8";
}
template <>
const char* type_name<std::int32_t>() {
  return "i4";
}
template <>
const char* type_name<std::int64_t>() {
  return "i8";
}
template <>
const char* type_name<std::uint8_t>() {
  return "u1";
}

std::int64_t Array::size() const {
  return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
}

Case::Case(std::string kernel, std::string function, std::map<std::string, Array> arrays)
    : kernel_(std::move(kernel)), function_(std::move(function)), arrays_(std::move(arrays)) {}

const Array& Case::array(const std::string& name) const {
  const auto at = arrays_.find(name);
  if (at == arrays_.end()) throw std::runtime_error(function_ + ": the file has no " + name);
  return at->second;
}

template <class T>
const T* Case::find(const std::string& name) const {
  return arrays_.count(name) ? get<T>(name) : nullptr;
}

template <class T>
const T* Case::get(const std::string& name) const {
  const Array& values = array(name);
  if (values.type != type_name<T>())
    throw std::runtime_error(function_ + ": " + name + " is " + values.type + ", not " + type_name<T>());
  return reinterpret_cast<const T*>(values.words.data());
}

std::int64_t Case::extent(const std::string& name, std::size_t axis) const { return array(name).shape.at(axis); }

std::int64_t Case::size(const std::string& name) const { return array(name).size(); }

void Case::begin(int threads) {
  threads_ = threads;
  seen_.clear();
  digest_ = no_digest;
}

void Case::end() {
  for (const auto& [name, array] : arrays_)
    require(array.tolerance < 0 || std::count(seen_.begin(), seen_.end(), name) == 1, name + " was not compared once");
}

void Case::require(bool is_so, const std::string& what) {
  if (!is_so) failures_.push_back(function_ + ", " + std::to_string(threads_) + " threads: " + what);
}

template <class T>
void Case::expect(const std::string& name, const std::vector<T>& found) {
  const Array& expected = array(name);
  const T* values = get<T>(name);
  seen_.push_back(name);
  digest_ = add_bytes(digest_, found.data(), found.size() * sizeof(T));
  if (static_cast<std::int64_t>(found.size()) != expected.size())
    return require(false, name + " has another size than expected");
  compared_ += expected.size();
  for (std::size_t i = 0; i < found.size(); ++i) {
    if (found[i] == values[i]) continue;
    const double off = std::abs(static_cast<double>(found[i]) - static_cast<double>(values[i]));
    if (!(off <= expected.tolerance))
      return require(false, name + "[" + std::to_string(i) + "] is " + std::to_string(found[i]) + ", expected " +
                                std::to_string(values[i]) + " within " + std::to_string(expected.tolerance));
    worst_ = std::max(worst_, off / expected.tolerance);
  }
}

#define PYCRYO_CASE_OF(T)                                 \
  template const T* Case::find(const std::string&) const; \
  template const T* Case::get(const std::string&) const;  \
  template void Case::expect(const std::string&, const std::vector<T>&);
PYCRYO_CASE_OF(float)
PYCRYO_CASE_OF(double)
PYCRYO_CASE_OF(std::int32_t)
PYCRYO_CASE_OF(std::int64_t)
PYCRYO_CASE_OF(std::uint8_t)

std::vector<Case> read_cases(const std::string& path) {
  Reader reader(path);
  if (reader.text() != "pycryo kernel vectors 1") throw std::runtime_error(path + ": is no file of kernel vectors");
  std::vector<Case> cases;
  for (auto n = reader.number<std::uint32_t>(); n > 0; --n) {
    std::string kernel = reader.text(), function = reader.text();
    std::map<std::string, Array> arrays;
    for (auto left = reader.number<std::uint32_t>(); left > 0; --left) {
      std::string name = reader.text();
      arrays[std::move(name)] = reader.array();
    }
    cases.emplace_back(std::move(kernel), std::move(function), std::move(arrays));
  }
  return cases;
}

}  // namespace pycryo::self_test
