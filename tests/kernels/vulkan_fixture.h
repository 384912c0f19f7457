#pragma once
// A device for tests, with the validation layer where it is installed: no message may come of it.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "kernels/vulkan/device.h"
#include "sim/base/diagnostics.h"

namespace kvsim::kernels {

// Devices are kept for the whole program and never closed: making one takes longer than most tests,
// and drivers that stay loaded can be named to the leak checker (vulkan_device_test.cpp).
class VulkanTest : public testing::Test {
 protected:
  void SetUp() override {
    if (best().device == nullptr) GTEST_SKIP() << best().why;
    checked_ = {best().device.get(), plain().device.get()};
    for (vulkan::Device* d : checked_) seen_.push_back(d->messages().size());
  }
  void TearDown() override {
    for (std::size_t d = 0; d < checked_.size(); ++d) {
      const std::vector<std::string> all = checked_[d]->messages();
      for (std::size_t i = seen_[d]; i < all.size(); ++i) ADD_FAILURE() << all[i];
    }
  }
  static vulkan::Device& device() { return *best().device; }
  // Without subgroup operations, and with copies through staging memory.
  static vulkan::Device& plain_device() { return *plain().device; }

 private:
  struct Opened {
    std::unique_ptr<vulkan::Device> device;
    std::string why;
    explicit Opened(vulkan::Options options) {
      for (const bool validation : {true, false}) {
        if (device != nullptr) return;
        options.validation = validation;
        try {
          device = std::make_unique<vulkan::Device>(options);
        } catch (const InputError& e) {
          why = e.what();
        }
      }
    }
  };
  static const Opened& best() {
    static const Opened& opened = *new Opened{vulkan::Options{}};
    return opened;
  }
  static const Opened& plain() {
    static const Opened& opened = *new Opened{vulkan::Options{.subgroups = false, .staging = true}};
    return opened;
  }
  std::vector<vulkan::Device*> checked_;
  std::vector<std::size_t> seen_;
};

}  // namespace kvsim::kernels
