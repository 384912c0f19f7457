#pragma once
// The inside of a device, shared by the .cpp files that manage its memory and its calls.
#include <cstddef>
#include <map>
#include <string_view>
#include <utility>
#include <vector>

#include "kernels/vulkan/api.h"
#include "kernels/vulkan/compute.h"

namespace kvsim::kernels::vulkan {

// Storage buffers cut from few large allocations (drivers allow as few as 4096). First fit; freed
// ranges merge with free neighbours.
class Pool {
 public:
  struct Block {
    VkBuffer buffer = VK_NULL_HANDLE;
    VkDeviceMemory memory = VK_NULL_HANDLE;
    std::byte* mapped = nullptr;  // null: reached only through staging
    std::size_t bytes = 0;
    std::map<std::size_t, std::size_t> free;  // offset -> bytes
  };
  void open(VkDevice, const Functions&, const VkPhysicalDeviceMemoryProperties&, const DeviceInfo&,
            bool mapped);
  void close();
  Buffer::Place take(std::size_t bytes);
  void give_back(Buffer::Place, std::size_t bytes);
  [[nodiscard]] const Block& block(std::size_t index) const { return blocks_[index]; }

 private:
  void grow(std::size_t bytes);
  [[nodiscard]] std::size_t padded(std::size_t bytes) const;

  VkDevice device_ = VK_NULL_HANDLE;
  const Functions* vk_ = nullptr;
  VkPhysicalDeviceMemoryProperties memory_{};
  DeviceInfo info_;
  bool mapped_ = false;
  std::vector<Block> blocks_;
};

struct Pipeline {
  VkPipeline handle = VK_NULL_HANDLE;
  VkPipelineLayout layout = VK_NULL_HANDLE;
  VkDescriptorSetLayout set = VK_NULL_HANDLE;
};

struct Device::Impl {
  explicit Impl(const Options&);
  ~Impl();
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  // Made at the first call with these constants, kept.
  const Pipeline& pipeline(const Step&);
  void submit(VkCommandBuffer);  // and wait
  // offset -> offset on the device, through staging; `to_device`: from `host` into the place.
  void copy(const Pool::Block&, std::size_t offset, std::byte* host, std::size_t bytes,
            bool to_device);

  Options options;
  Instance instance;
  DeviceInfo info;
  Functions vk;
  VkDevice device = VK_NULL_HANDLE;
  VkQueue queue = VK_NULL_HANDLE;
  VkCommandPool commands = VK_NULL_HANDLE;
  VkFence fence = VK_NULL_HANDLE;
  Pool storage;  // what shaders see
  Pool staging;  // what the host sees, where storage is not mapped

 private:
  struct Layouts {
    VkDescriptorSetLayout set = VK_NULL_HANDLE;
    VkPipelineLayout pipeline = VK_NULL_HANDLE;
  };
  void open(const Instance::Candidate&);
  void close();
  const Layouts& layouts(std::size_t buffers);
  VkShaderModule module(const std::string& shader);

  std::map<std::size_t, Layouts> layouts_;
  std::map<std::pair<std::string, std::vector<std::uint32_t>>, Pipeline> pipelines_;
};

}  // namespace kvsim::kernels::vulkan
