#pragma once
// Little-endian numbers and pieces of a file, never beyond its end.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <string>
#include <type_traits>

#include "sim/base/diagnostics.h"

namespace kvsim::quality {

class ByteReader {
 public:
  explicit ByteReader(const std::string& path) : path_(path), in_(path, std::ios::binary) {
    if (!in_)
      throw InputError(path + ": cannot be read",
                       "check the path (relative to the file that "
                       "names it)");
    in_.seekg(0, std::ios::end);
    const auto end = in_.tellg();
    if (end < 0) fail("is no regular file");
    size_ = static_cast<std::uint64_t>(end);
    in_.seekg(0);
  }
  [[nodiscard]] std::uint64_t size() const { return size_; }
  [[nodiscard]] std::uint64_t at() const { return at_; }
  [[nodiscard]] std::uint64_t left() const { return size_ - at_; }
  void seek(std::uint64_t at) {
    if (at > size_) fail("is shorter than its header says");
    in_.seekg(static_cast<std::streamoff>(at));
    at_ = at;
  }
  void bytes(void* to, std::uint64_t n) {
    if (n > left()) fail("is shorter than its header says");
    in_.read(static_cast<char*>(to), static_cast<std::streamsize>(n));
    if (!in_) fail("cannot be read to its end");
    at_ += n;
  }
  template <class T>
  T number() {
    static_assert(std::is_arithmetic_v<T>);
    T v{};
    bytes(&v, sizeof v);
    return v;
  }
  // Bounded before it is allocated.
  std::string text(std::uint64_t n) {
    if (n > left()) fail("is shorter than its header says");
    std::string s(static_cast<std::size_t>(n), '\0');
    bytes(s.data(), n);
    return s;
  }
  [[noreturn]] void fail(const std::string& what, const std::string& hint = {}) const {
    throw InputError(path_ + ": " + what, hint);
  }

 private:
  std::string path_;
  std::ifstream in_;
  std::uint64_t size_ = 0, at_ = 0;
};

}  // namespace kvsim::quality
