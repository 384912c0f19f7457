#pragma once
// What twins need of a device: buffers, and recorded sequences of shader calls. Shaders are those
// of shaders/*.comp, by file name without ending. Conventions of all of them: specialisation
// constant 0 is the workgroup's width, constants 1.. are the words of Step::constants after it;
// buffer i of Step::buffers is binding i of set 0; Step::push are the push constants.
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

namespace kvsim::kernels::vulkan {

class Device;

// Storage on the device, freed with this object.
class Buffer {
 public:
  Buffer() = default;
  // Contents are undefined. Throws InputError when no shader of the device could see all of it, or
  // its memory is full. `what` names the buffer in that message.
  Buffer(Device&, std::size_t bytes, const char* what);
  Buffer(Buffer&&) noexcept;
  Buffer& operator=(Buffer&&) noexcept;
  ~Buffer();

  [[nodiscard]] std::size_t bytes() const { return bytes_; }
  // Both wait until the copy is done.
  void write(std::span<const std::byte>, std::size_t at = 0);
  void read(std::span<std::byte>, std::size_t at = 0) const;
  template <class T>
  void put(std::span<const T> values) {
    static_assert(std::is_trivially_copyable_v<T>);
    write(std::as_bytes(values));
  }
  template <class T>
  void get(std::span<T> values) const {
    static_assert(std::is_trivially_copyable_v<T>);
    read(std::as_writable_bytes(values));
  }

  struct Place {
    std::size_t block = 0, offset = 0;
  };
  [[nodiscard]] Place place() const { return place_; }

 private:
  Device* device_ = nullptr;
  Place place_;
  std::size_t bytes_ = 0;  // as asked for; 0 = owns nothing
};

// A buffer that holds a copy of `values`; of at least 16 bytes, so that it can be bound when empty.
template <class T>
Buffer filled(Device& device, std::span<const T> values, const char* what) {
  Buffer b(device, values.size_bytes() < 16 ? 16 : values.size_bytes(), what);
  b.put(values);
  return b;
}

struct Step {
  std::string shader;
  std::vector<std::uint32_t> constants;  // the first is the workgroup's width
  std::vector<const Buffer*> buffers;
  std::vector<std::uint32_t> push;  // at most 32 words
  std::array<std::uint32_t, 3> groups{1, 1, 1};
};
inline std::uint32_t word(float value) { return std::bit_cast<std::uint32_t>(value); }
template <class T>
requires std::is_integral_v<T> || std::is_enum_v<T>
constexpr std::uint32_t word(T value) { return static_cast<std::uint32_t>(value); }

// Steps in order, each sees what those before it wrote. Buffers must outlive it.
class Recording {
 public:
  Recording(Device&, std::span<const Step>);
  Recording(Recording&&) noexcept;
  ~Recording();
  void run();  // and wait
  // Of the last run, by the device's clock; < 0 when it has none.
  [[nodiscard]] double seconds() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kvsim::kernels::vulkan
