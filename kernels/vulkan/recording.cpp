#include <algorithm>
#include <array>

#include "kernels/vulkan/device_impl.h"
#include "sim/base/check.h"

namespace kvsim::kernels::vulkan {

struct Recording::Impl {
  Impl(Device::Impl& d, std::span<const Step> steps) : device(d) {
    try {
      create(steps);
      record(steps);
    } catch (...) {
      destroy();
      throw;
    }
  }
  ~Impl() { destroy(); }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  void create(std::span<const Step>);
  void destroy() const;
  void record(std::span<const Step>);
  void record(const Step&);
  [[nodiscard]] VkDescriptorSet bind(const Step&, VkDescriptorSetLayout) const;

  Device::Impl& device;
  VkDescriptorPool sets = VK_NULL_HANDLE;
  VkQueryPool stamps = VK_NULL_HANDLE;
  VkCommandBuffer commands = VK_NULL_HANDLE;
};

void Recording::Impl::create(std::span<const Step> steps) {
  const Functions& vk = device.vk;
  std::size_t buffers = 1;  // a pool must not be empty
  for (const Step& s : steps) buffers += s.buffers.size();
  const VkDescriptorPoolSize size{VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                  static_cast<std::uint32_t>(buffers)};
  VkDescriptorPoolCreateInfo pool{};
  pool.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO;
  pool.maxSets = static_cast<std::uint32_t>(steps.size()) + 1;
  pool.poolSizeCount = 1;
  pool.pPoolSizes = &size;
  expect(vk.vkCreateDescriptorPool(device.device, &pool, nullptr, &sets), "vkCreateDescriptorPool");
  VkCommandBufferAllocateInfo allocate{};
  allocate.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO;
  allocate.commandPool = device.commands;
  allocate.level = VK_COMMAND_BUFFER_LEVEL_PRIMARY;
  allocate.commandBufferCount = 1;
  expect(vk.vkAllocateCommandBuffers(device.device, &allocate, &commands),
         "vkAllocateCommandBuffers");
  if (device.info.timestamp_bits == 0) return;
  VkQueryPoolCreateInfo queries{};
  queries.sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO;
  queries.queryType = VK_QUERY_TYPE_TIMESTAMP;
  queries.queryCount = 2;
  expect(vk.vkCreateQueryPool(device.device, &queries, nullptr, &stamps), "vkCreateQueryPool");
}

void Recording::Impl::destroy() const {
  const Functions& vk = device.vk;
  if (stamps != VK_NULL_HANDLE) vk.vkDestroyQueryPool(device.device, stamps, nullptr);
  if (commands != VK_NULL_HANDLE)
    vk.vkFreeCommandBuffers(device.device, device.commands, 1, &commands);
  if (sets != VK_NULL_HANDLE) vk.vkDestroyDescriptorPool(device.device, sets, nullptr);
}

VkDescriptorSet Recording::Impl::bind(const Step& step, VkDescriptorSetLayout layout) const {
  VkDescriptorSetAllocateInfo allocate{};
  allocate.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO;
  allocate.descriptorPool = sets;
  allocate.descriptorSetCount = 1;
  allocate.pSetLayouts = &layout;
  VkDescriptorSet set = VK_NULL_HANDLE;
  expect(device.vk.vkAllocateDescriptorSets(device.device, &allocate, &set),
         "vkAllocateDescriptorSets");
  std::vector<VkDescriptorBufferInfo> ranges;
  ranges.reserve(step.buffers.size());
  for (const Buffer* b : step.buffers) {
    const Buffer::Place place = b->place();
    // Shaders may read in words of 16 bytes; the pool pads every range to at least that.
    ranges.push_back(
        {device.storage.block(place.block).buffer, place.offset, (b->bytes() + 15) / 16 * 16});
  }
  std::vector<VkWriteDescriptorSet> writes(ranges.size());
  for (std::uint32_t i = 0; i < writes.size(); ++i) {
    writes[i].sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET;
    writes[i].dstSet = set;
    writes[i].dstBinding = i;
    writes[i].descriptorCount = 1;
    writes[i].descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER;
    writes[i].pBufferInfo = &ranges[i];
  }
  device.vk.vkUpdateDescriptorSets(device.device, static_cast<std::uint32_t>(writes.size()),
                                   writes.data(), 0, nullptr);
  return set;
}

void Recording::Impl::record(const Step& step) {
  KVSIM_CHECK(step.push.size() <= 32, "push constants fit into what every device has");
  const Functions& vk = device.vk;
  const Pipeline& pipeline = device.pipeline(step);
  const VkDescriptorSet set = bind(step, pipeline.set);
  vk.vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline.handle);
  vk.vkCmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline.layout, 0, 1, &set,
                             0, nullptr);
  if (!step.push.empty())
    vk.vkCmdPushConstants(commands, pipeline.layout, VK_SHADER_STAGE_COMPUTE_BIT, 0,
                          static_cast<std::uint32_t>(step.push.size() * 4), step.push.data());
  vk.vkCmdDispatch(commands, step.groups[0], step.groups[1], step.groups[2]);
}

void Recording::Impl::record(std::span<const Step> steps) {
  const Functions& vk = device.vk;
  VkCommandBufferBeginInfo begin{};
  begin.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO;
  expect(vk.vkBeginCommandBuffer(commands, &begin), "vkBeginCommandBuffer");
  if (stamps != VK_NULL_HANDLE) {
    vk.vkCmdResetQueryPool(commands, stamps, 0, 2);
    vk.vkCmdWriteTimestamp(commands, VK_PIPELINE_STAGE_TOP_OF_PIPE_BIT, stamps, 0);
  }
  VkMemoryBarrier barrier{};
  barrier.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER;
  barrier.srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT;
  for (const Step& step : steps) {
    record(step);
    const bool last = &step == &steps.back();
    barrier.dstAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT;
    VkPipelineStageFlags readers = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT;
    if (last) {  // whoever comes next: the host, a copy, or a run again
      barrier.dstAccessMask |=
          VK_ACCESS_HOST_READ_BIT | VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT;
      readers |= VK_PIPELINE_STAGE_HOST_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT;
    }
    vk.vkCmdPipelineBarrier(commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, readers, 0, 1, &barrier,
                            0, nullptr, 0, nullptr);
  }
  if (stamps != VK_NULL_HANDLE)
    vk.vkCmdWriteTimestamp(commands, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, stamps, 1);
  expect(vk.vkEndCommandBuffer(commands), "vkEndCommandBuffer");
}

Recording::Recording(Device& device, std::span<const Step> steps)
    : impl_(std::make_unique<Impl>(device.impl(), steps)) {}
Recording::Recording(Recording&&) noexcept = default;
Recording::~Recording() = default;

void Recording::run() { impl_->device.submit(impl_->commands); }

double Recording::seconds() const {
  if (impl_->stamps == VK_NULL_HANDLE) return -1;
  std::array<std::uint64_t, 2> ticks{};
  expect(impl_->device.vk.vkGetQueryPoolResults(impl_->device.device, impl_->stamps, 0, 2,
                                                sizeof ticks, ticks.data(), sizeof ticks[0],
                                                VK_QUERY_RESULT_64_BIT | VK_QUERY_RESULT_WAIT_BIT),
         "vkGetQueryPoolResults");
  const std::uint32_t bits = impl_->device.info.timestamp_bits;
  const std::uint64_t mask = bits >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << bits) - 1;
  return static_cast<double>((ticks[1] - ticks[0]) & mask) * impl_->device.info.timestamp_ns * 1e-9;
}

}  // namespace kvsim::kernels::vulkan
