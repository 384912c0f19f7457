#pragma once
// Vulkan's functions, looked up at run time; the only header of this folder that shows Vulkan. For
// the .cpp files of kernels/vulkan that drive the device.
#define VK_NO_PROTOTYPES
#include <vulkan/vulkan.h>

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "kernels/vulkan/device.h"

// clang-format off
#define KVSIM_VK_INSTANCE(X)                                                                       \
  X(vkDestroyInstance) X(vkEnumeratePhysicalDevices) X(vkGetPhysicalDeviceProperties2)             \
  X(vkGetPhysicalDeviceMemoryProperties) X(vkGetPhysicalDeviceQueueFamilyProperties)               \
  X(vkCreateDevice) X(vkGetDeviceProcAddr)
#define KVSIM_VK_DEVICE(X)                                                                         \
  X(vkDestroyDevice) X(vkGetDeviceQueue) X(vkDeviceWaitIdle) X(vkCreateBuffer) X(vkDestroyBuffer)  \
  X(vkGetBufferMemoryRequirements) X(vkAllocateMemory) X(vkFreeMemory) X(vkBindBufferMemory)       \
  X(vkMapMemory) X(vkCreateShaderModule) X(vkDestroyShaderModule)                                  \
  X(vkCreateDescriptorSetLayout) X(vkDestroyDescriptorSetLayout) X(vkCreatePipelineLayout)         \
  X(vkDestroyPipelineLayout) X(vkCreateComputePipelines) X(vkDestroyPipeline)                      \
  X(vkCreateDescriptorPool) X(vkDestroyDescriptorPool) X(vkAllocateDescriptorSets)                 \
  X(vkUpdateDescriptorSets) X(vkCreateCommandPool) X(vkDestroyCommandPool)                         \
  X(vkAllocateCommandBuffers) X(vkFreeCommandBuffers) X(vkBeginCommandBuffer)                      \
  X(vkEndCommandBuffer) X(vkCmdBindPipeline) X(vkCmdBindDescriptorSets) X(vkCmdPushConstants)      \
  X(vkCmdDispatch) X(vkCmdPipelineBarrier) X(vkCmdCopyBuffer) X(vkCmdResetQueryPool)               \
  X(vkCmdWriteTimestamp) X(vkCreateQueryPool) X(vkDestroyQueryPool) X(vkGetQueryPoolResults)       \
  X(vkCreateFence) X(vkDestroyFence) X(vkResetFences) X(vkWaitForFences) X(vkQueueSubmit)
// clang-format on

namespace kvsim::kernels::vulkan {

// Throws InputError for what `call` gave back: the machine or its driver cannot do it.
void expect(VkResult result, const char* call);

// An instance with the loader that it came from. Messages of the validation layer are collected.
class Instance {
 public:
  explicit Instance(const Options&);  // throws InputError
  ~Instance();
  Instance(const Instance&) = delete;
  Instance& operator=(const Instance&) = delete;

  struct Candidate {
    VkPhysicalDevice handle = VK_NULL_HANDLE;
    std::uint32_t queue_family = 0;
    DeviceInfo info;
  };
  // Best kind first; of one kind in the loader's order.
  [[nodiscard]] std::vector<Candidate> candidates() const;
  [[nodiscard]] std::vector<std::string> messages() const;
  void collect(std::string message);

#define KVSIM_VK_MEMBER(name) PFN_##name name = nullptr;
  KVSIM_VK_INSTANCE(KVSIM_VK_MEMBER)

 private:
  void create(bool validation);
  [[nodiscard]] Candidate describe(VkPhysicalDevice) const;

  void* library_ = nullptr;
  VkInstance instance_ = VK_NULL_HANDLE;
  VkDebugUtilsMessengerEXT messenger_ = VK_NULL_HANDLE;
  PFN_vkGetInstanceProcAddr vkGetInstanceProcAddr_ = nullptr;
  mutable std::mutex mutex_;  // the layer may call from a driver's thread
  std::vector<std::string> messages_;
};

// The functions of one device.
struct Functions {
  KVSIM_VK_DEVICE(KVSIM_VK_MEMBER)
#undef KVSIM_VK_MEMBER
};

}  // namespace kvsim::kernels::vulkan
