#pragma once
// This machine as the hardware of a scenario: `cost: {model: kernels, device: cpu | vulkan}`.
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "hardware/device.h"
#include "sim/run/measure_kernels.h"

namespace kvsim {

// A device of this machine that kernels can run on.
class LocalDevice {
 public:
  // "cpu" (all cores unless `threads` says otherwise) or "vulkan" (the best device). Throws
  // InputError when there is none.
  explicit LocalDevice(const std::string& name, int threads = 0);
  ~LocalDevice();
  LocalDevice(const LocalDevice&) = delete;
  LocalDevice& operator=(const LocalDevice&) = delete;
  [[nodiscard]] const kernels::NamedTarget& target() const { return target_; }
  // File name and id of its profile: "cpu-amd-epyc-9654-2t".
  [[nodiscard]] const std::string& id() const { return id_; }

 private:
  std::unique_ptr<kernels::Threads> team_;
  std::unique_ptr<kernels::vulkan::Device> vulkan_;
  kernels::NamedTarget target_;
  std::string id_;
};

// Throws InputError for a file that is none or is broken.
DeviceSpec read_profile(const std::filesystem::path&);
// Whole or not at all; makes the folder.
void write_profile(const std::filesystem::path&, const DeviceSpec&);

// The profile of the device in `folder`, measured if there is none; what it lacks for the model is
// measured and kept too. `timings`: what was measured now.
DeviceSpec local_profile(const std::string& device, const ModelWork&,
                         const std::filesystem::path& folder, std::vector<KernelTiming>& timings,
                         const std::function<void(const std::string&)>& progress);

// Stands for a device that nobody measured where a scenario is only checked: half of this machine's
// memory, and kernels that take no time.
DeviceSpec unmeasured_device(const std::string& device, const ModelWork&);

}  // namespace kvsim
