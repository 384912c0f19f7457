#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "kernels/vulkan/device_impl.h"
#include "sim/base/check.h"
#include "sim/base/diagnostics.h"

namespace kvsim::kernels::vulkan {

namespace {

constexpr std::size_t kBlock = std::size_t{64} << 20;
constexpr std::size_t kStagingBlock = std::size_t{16} << 20;

std::size_t round_up(std::size_t n, std::size_t to) { return (n + to - 1) / to * to; }

// The memory type with the most of the wished properties among those that have the needed ones.
std::uint32_t memory_type(const VkPhysicalDeviceMemoryProperties& memory, std::uint32_t allowed,
                          VkMemoryPropertyFlags needed, VkMemoryPropertyFlags wished) {
  std::uint32_t best = memory.memoryTypeCount;
  for (std::uint32_t i = 0; i < memory.memoryTypeCount; ++i) {
    const VkMemoryPropertyFlags flags = memory.memoryTypes[i].propertyFlags;
    if ((allowed >> i & 1U) == 0 || (flags & needed) != needed) continue;
    if ((flags & wished) == wished) return i;
    if (best == memory.memoryTypeCount) best = i;
  }
  if (best == memory.memoryTypeCount)
    throw InputError("Vulkan: the device has no memory of the kind that a storage buffer needs");
  return best;
}

}  // namespace

void Pool::open(VkDevice device, const Functions& vk,
                const VkPhysicalDeviceMemoryProperties& memory, const DeviceInfo& info,
                bool mapped) {
  device_ = device;
  vk_ = &vk;
  memory_ = memory;
  info_ = info;
  mapped_ = mapped;
}

void Pool::close() {
  for (const Block& b : blocks_) {
    vk_->vkDestroyBuffer(device_, b.buffer, nullptr);
    vk_->vkFreeMemory(device_, b.memory, nullptr);
  }
  blocks_.clear();
}

std::size_t Pool::padded(std::size_t bytes) const {
  return round_up(bytes, std::max<std::size_t>(info_.range_alignment, 64));
}

void Pool::grow(std::size_t bytes) {
  Block b;
  b.bytes = std::max(bytes, std::min<std::size_t>(kBlock, info_.memory_bytes / 16));
  VkBufferCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO;
  info.size = b.bytes;
  info.usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
               VK_BUFFER_USAGE_TRANSFER_DST_BIT;
  expect(vk_->vkCreateBuffer(device_, &info, nullptr, &b.buffer), "vkCreateBuffer");
  VkMemoryRequirements requirements{};
  vk_->vkGetBufferMemoryRequirements(device_, b.buffer, &requirements);
  constexpr VkMemoryPropertyFlags kHost =
      VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
  VkMemoryAllocateInfo allocate{};
  allocate.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO;
  allocate.allocationSize = requirements.size;
  // Reads by the host want its cache.
  allocate.memoryTypeIndex =
      memory_type(memory_, requirements.memoryTypeBits,
                  mapped_ ? kHost : VkMemoryPropertyFlags{VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT},
                  mapped_ ? kHost | VK_MEMORY_PROPERTY_HOST_CACHED_BIT
                          : VkMemoryPropertyFlags{VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT});
  VkResult result = vk_->vkAllocateMemory(device_, &allocate, nullptr, &b.memory);
  if (result == VK_SUCCESS) result = vk_->vkBindBufferMemory(device_, b.buffer, b.memory, 0);
  void* mapped = nullptr;
  if (result == VK_SUCCESS && mapped_)
    result = vk_->vkMapMemory(device_, b.memory, 0, VK_WHOLE_SIZE, 0, &mapped);
  if (result != VK_SUCCESS) {
    vk_->vkDestroyBuffer(device_, b.buffer, nullptr);
    vk_->vkFreeMemory(device_, b.memory, nullptr);
    expect(result, fmt::format("allocating {} MiB", b.bytes >> 20).c_str());
  }
  b.mapped = static_cast<std::byte*>(mapped);
  b.free.emplace(0, b.bytes);
  blocks_.push_back(std::move(b));
}

Buffer::Place Pool::take(std::size_t bytes) {
  const std::size_t need = padded(bytes);
  for (int attempt = 0;; ++attempt) {
    for (std::size_t i = 0; i < blocks_.size(); ++i)
      for (const auto& [offset, size] : blocks_[i].free) {
        if (size < need) continue;
        const Buffer::Place place{i, offset};
        if (size > need) blocks_[i].free.emplace(offset + need, size - need);
        blocks_[i].free.erase(place.offset);
        return place;
      }
    KVSIM_CHECK(attempt == 0, "a new block has room");
    grow(need);
  }
}

void Pool::give_back(Buffer::Place place, std::size_t bytes) {
  auto& free = blocks_[place.block].free;
  auto [at, fresh] = free.emplace(place.offset, padded(bytes));
  KVSIM_CHECK(fresh, "a range is freed once");
  if (const auto next = std::next(at);
      next != free.end() && at->first + at->second == next->first) {
    at->second += next->second;
    free.erase(next);
  }
  if (at != free.begin())
    if (const auto before = std::prev(at); before->first + before->second == at->first) {
      before->second += at->second;
      free.erase(at);
    }
}

Buffer::Buffer(Device& device, std::size_t bytes, const char* what) {
  const DeviceInfo& info = device.info();
  const std::uint64_t limit = std::min(info.max_range, info.max_allocation);
  if (bytes > limit)
    throw InputError(fmt::format("{}: {} bytes, but a shader of {} sees at most {} of one buffer",
                                 what, bytes, info.name, limit),
                     "take a smaller shape, or a device that allows more");
  KVSIM_CHECK(bytes > 0, "a buffer holds something");
  place_ = device.impl().storage.take(bytes);
  device_ = &device;
  bytes_ = bytes;
}

Buffer::Buffer(Buffer&& other) noexcept
    : device_(other.device_), place_(other.place_), bytes_(std::exchange(other.bytes_, 0)) {}
Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(device_, other.device_);
  std::swap(place_, other.place_);
  std::swap(bytes_, other.bytes_);
  return *this;
}
Buffer::~Buffer() {
  if (bytes_ > 0) device_->impl().storage.give_back(place_, bytes_);
}

void Buffer::write(std::span<const std::byte> from, std::size_t at) {
  KVSIM_CHECK(at + from.size() <= bytes_, "a write stays inside its buffer");
  if (from.empty()) return;
  const Pool::Block& block = device_->impl().storage.block(place_.block);
  const std::size_t offset = place_.offset + at;
  if (block.mapped != nullptr) {
    std::memcpy(block.mapped + offset, from.data(), from.size());
    return;
  }
  // copy() only reads from the host when it writes to the device.
  device_->impl().copy(block, offset, const_cast<std::byte*>(from.data()), from.size(), true);
}

void Buffer::read(std::span<std::byte> to, std::size_t at) const {
  KVSIM_CHECK(at + to.size() <= bytes_, "a read stays inside its buffer");
  if (to.empty()) return;
  const Pool::Block& block = device_->impl().storage.block(place_.block);
  const std::size_t offset = place_.offset + at;
  if (block.mapped != nullptr)
    std::memcpy(to.data(), block.mapped + offset, to.size());
  else
    device_->impl().copy(block, offset, to.data(), to.size(), false);
}

void Device::Impl::copy(const Pool::Block& block, std::size_t offset, std::byte* host,
                        std::size_t bytes, bool to_device) {
  const Buffer::Place place = staging.take(kStagingBlock);
  const Pool::Block& stage = staging.block(place.block);
  VkCommandBufferAllocateInfo allocate{};
  allocate.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO;
  allocate.commandPool = commands;
  allocate.level = VK_COMMAND_BUFFER_LEVEL_PRIMARY;
  allocate.commandBufferCount = 1;
  VkCommandBuffer buffer = VK_NULL_HANDLE;
  expect(vk.vkAllocateCommandBuffers(device, &allocate, &buffer), "vkAllocateCommandBuffers");
  for (std::size_t done = 0; done < bytes;) {
    const std::size_t n = std::min(kStagingBlock, bytes - done);
    if (to_device) std::memcpy(stage.mapped + place.offset, host + done, n);
    VkCommandBufferBeginInfo begin{};
    begin.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO;
    begin.flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT;
    expect(vk.vkBeginCommandBuffer(buffer, &begin), "vkBeginCommandBuffer");
    const VkBufferCopy there{place.offset, offset + done, n}, back{offset + done, place.offset, n};
    vk.vkCmdCopyBuffer(buffer, to_device ? stage.buffer : block.buffer,
                       to_device ? block.buffer : stage.buffer, 1, to_device ? &there : &back);
    VkMemoryBarrier barrier{};
    barrier.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER;
    barrier.srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT;
    barrier.dstAccessMask = to_device ? VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT
                                      : VkAccessFlags{VK_ACCESS_HOST_READ_BIT};
    vk.vkCmdPipelineBarrier(
        buffer, VK_PIPELINE_STAGE_TRANSFER_BIT,
        to_device ? VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT : VK_PIPELINE_STAGE_HOST_BIT, 0, 1,
        &barrier, 0, nullptr, 0, nullptr);
    expect(vk.vkEndCommandBuffer(buffer), "vkEndCommandBuffer");
    submit(buffer);
    if (!to_device) std::memcpy(host + done, stage.mapped + place.offset, n);
    done += n;
  }
  vk.vkFreeCommandBuffers(device, commands, 1, &buffer);
  staging.give_back(place, kStagingBlock);
}

}  // namespace kvsim::kernels::vulkan
