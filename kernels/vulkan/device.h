#pragma once
// A Vulkan device (1.2 or newer) that runs the compute twins. The loader is opened at run time: the
// program starts on machines without Vulkan, and asking for a device there is an InputError that
// says what to install.
//
// A device and everything made with it belong to one thread at a time; it must outlive its buffers
// and recordings (compute.h).
#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace kvsim::kernels::vulkan {

enum class DeviceKind : std::uint8_t { discrete, integrated, virtual_gpu, cpu, other };
constexpr auto enum_names(DeviceKind) {
  return std::array{std::pair{DeviceKind::discrete, "discrete"},
                    std::pair{DeviceKind::integrated, "integrated"},
                    std::pair{DeviceKind::virtual_gpu, "virtual"},
                    std::pair{DeviceKind::cpu, "cpu"}, std::pair{DeviceKind::other, "other"}};
}

struct DeviceInfo {
  std::string name, driver;  // "NVIDIA H100 PCIe", "llvmpipe Mesa 22.3.6 (LLVM 15.0.6)"
  DeviceKind kind = DeviceKind::other;
  std::string api;                    // "1.3.230"
  bool software = false;              // runs on the CPU: its times say nothing about a GPU
  std::uint64_t memory_bytes = 0;     // largest device-local heap
  std::uint64_t max_range = 0;        // bytes that one shader can see of one buffer
  std::uint64_t max_allocation = 0;   // bytes
  std::uint32_t max_shared = 0;       // bytes of a workgroup
  std::uint32_t max_workgroup = 0;    // invocations
  std::uint32_t max_groups = 0;       // workgroups in x
  std::uint32_t range_alignment = 0;  // bytes
  std::uint32_t subgroup_size = 0;    // invocations
  bool subgroup_arithmetic = false;   // in compute shaders
  std::uint32_t timestamp_bits = 0;   // 0: no clock on its compute queue
  double timestamp_ns = 0;            // nanoseconds of a tick
  // A device that cannot be used: why. Empty otherwise.
  std::string unusable;
};

struct Options {
  std::string name = {};    // part of the device's name, case does not matter; empty: the best kind
  bool validation = false;  // core and synchronization checks of VK_LAYER_KHRONOS_validation
  bool subgroups = true;    // false: shared memory instead of subgroup arithmetic
  bool staging = false;     // true: copy through a staging buffer even where memory is shared
  std::string loader = "libvulkan.so.1";
};

// Every device that the loader reports, best kind first. Throws InputError without a loader;
// without a driver the list is empty.
std::vector<DeviceInfo> devices(const Options& = {});

class Device {
 public:
  // Throws InputError when there is no loader, no driver, or no device that fits the options.
  explicit Device(const Options& = {});
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  [[nodiscard]] const DeviceInfo& info() const;
  // Warnings and errors of the validation layer until now.
  [[nodiscard]] std::vector<std::string> messages() const;

  struct Impl;
  [[nodiscard]] Impl& impl() { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace kvsim::kernels::vulkan
