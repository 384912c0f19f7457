#pragma once
// The devices that `kvsim kernels` runs on, from its options.
#include <memory>
#include <string>
#include <vector>

#include "kernels/harness/check.h"

namespace kvsim {

struct KernelTargetOptions {
  std::vector<std::string>
      devices;  // "cpu", "vulkan", or part of a Vulkan device's name; empty = all there are
  std::vector<std::string> isas;  // of the CPU; empty = `default_isas`
  std::vector<int> threads;       // of the CPU, one target each; empty = all cores
  bool validation = false;        // Vulkan's validation layer
};

class KernelTargets {
 public:
  // `every_isa`: without `isas`, all that the processor has instead of the best. Throws InputError
  // for a device that was asked for by name and is not there; one that was not asked for is only
  // noted in skipped().
  KernelTargets(const KernelTargetOptions&, bool every_isa);
  ~KernelTargets();
  KernelTargets(const KernelTargets&) = delete;
  KernelTargets& operator=(const KernelTargets&) = delete;

  [[nodiscard]] const std::vector<kernels::NamedTarget>& all() const { return all_; }
  // "vulkan: no driver was found ..."
  [[nodiscard]] const std::vector<std::string>& skipped() const { return skipped_; }
  // Of the validation layer until now.
  [[nodiscard]] std::vector<std::string> messages() const;

 private:
  void add_cpu(const KernelTargetOptions&, bool every_isa);
  void add_vulkan(const std::string& name, bool validation);
  std::vector<std::unique_ptr<kernels::Threads>> teams_;
  std::vector<std::unique_ptr<kernels::vulkan::Device>> devices_;
  std::vector<kernels::NamedTarget> all_;
  std::vector<std::string> skipped_;
};

}  // namespace kvsim
