#pragma once
// Memory for caches and probes: zero-filled, 64-byte aligned, in huge pages where the system grants
// them (random 4 KiB pages of a large pool cost page walks otherwise).
#include <cstddef>
#include <span>
#include <utility>

namespace kvsim::kernels {

class Arena {
 public:
  Arena() = default;
  // Throws InputError when the system refuses. All pages are touched.
  explicit Arena(std::size_t bytes);
  ~Arena();
  Arena(Arena&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  Arena& operator=(Arena&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }

  [[nodiscard]] std::span<std::byte> bytes() const { return {data_, size_}; }
  // `count` numbers of type T from byte `offset` on, a multiple of alignof(T).
  template <class T>
  [[nodiscard]] std::span<T> as(std::size_t offset, std::size_t count) const {
    return {reinterpret_cast<T*>(data_ + offset), count};
  }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace kvsim::kernels
