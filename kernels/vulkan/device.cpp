#include "kernels/vulkan/device.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "kernels/vulkan/device_impl.h"
#include "kernels/vulkan/shaders.h"
#include "sim/base/check.h"
#include "sim/base/diagnostics.h"

namespace kvsim::kernels::vulkan {

namespace {

constexpr std::uint32_t kPushBytes = 128;  // what every device has

std::string lower(std::string s) {
  for (char& c : s) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return s;
}

Instance::Candidate choose(const Instance& instance, const std::string& name) {
  const std::vector<Instance::Candidate> all = instance.candidates();
  if (all.empty())
    throw InputError("no Vulkan: the loader found no device",
                     "install the driver of your GPU; mesa-vulkan-drivers has one that runs on the "
                     "CPU. VK_ICD_FILENAMES, when set, names the only drivers that are looked at");
  std::string seen;
  for (const Instance::Candidate& c : all) {
    if (c.info.unusable.empty() && lower(c.info.name).find(lower(name)) != std::string::npos)
      return c;
    seen += fmt::format("{}'{}'{}{}", seen.empty() ? "" : ", ", c.info.name,
                        c.info.unusable.empty() ? "" : ": ", c.info.unusable);
  }
  throw InputError(name.empty() ? "no Vulkan device can be used"
                                : fmt::format("no usable Vulkan device is called '{}'", name),
                   fmt::format("there are: {}", seen));
}

}  // namespace

Device::Impl::Impl(const Options& o) : options(o), instance(o) {
  const Instance::Candidate chosen = choose(instance, o.name);
  info = chosen.info;
  info.subgroup_arithmetic = info.subgroup_arithmetic && o.subgroups;
  try {
    open(chosen);
  } catch (...) {
    close();
    throw;
  }
}

void Device::Impl::open(const Instance::Candidate& chosen) {
  const float priority = 1;
  VkDeviceQueueCreateInfo queues{};
  queues.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO;
  queues.queueFamilyIndex = chosen.queue_family;
  queues.queueCount = 1;
  queues.pQueuePriorities = &priority;
  VkDeviceCreateInfo create{};
  create.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO;
  create.queueCreateInfoCount = 1;
  create.pQueueCreateInfos = &queues;
  expect(instance.vkCreateDevice(chosen.handle, &create, nullptr, &device), "vkCreateDevice");
#define KVSIM_VK_LOAD(name) \
  vk.name = reinterpret_cast<PFN_##name>(instance.vkGetDeviceProcAddr(device, #name));
  KVSIM_VK_DEVICE(KVSIM_VK_LOAD)
#undef KVSIM_VK_LOAD
  vk.vkGetDeviceQueue(device, chosen.queue_family, 0, &queue);
  VkCommandPoolCreateInfo pool{};
  pool.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO;
  pool.flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT;
  pool.queueFamilyIndex = chosen.queue_family;
  expect(vk.vkCreateCommandPool(device, &pool, nullptr, &commands), "vkCreateCommandPool");
  VkFenceCreateInfo fences{};
  fences.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO;
  expect(vk.vkCreateFence(device, &fences, nullptr, &fence), "vkCreateFence");
  VkPhysicalDeviceMemoryProperties memory{};
  instance.vkGetPhysicalDeviceMemoryProperties(chosen.handle, &memory);
  const bool shared = info.kind == DeviceKind::cpu || info.kind == DeviceKind::integrated;
  storage.open(device, vk, memory, info, shared && !options.staging);
  staging.open(device, vk, memory, info, true);
}

void Device::Impl::close() {
  if (device == VK_NULL_HANDLE) return;
  vk.vkDeviceWaitIdle(device);
  for (const auto& [key, p] : pipelines_) vk.vkDestroyPipeline(device, p.handle, nullptr);
  for (const auto& [count, l] : layouts_) {
    vk.vkDestroyPipelineLayout(device, l.pipeline, nullptr);
    vk.vkDestroyDescriptorSetLayout(device, l.set, nullptr);
  }
  storage.close();
  staging.close();
  vk.vkDestroyFence(device, fence, nullptr);
  vk.vkDestroyCommandPool(device, commands, nullptr);
  vk.vkDestroyDevice(device, nullptr);
}

Device::Impl::~Impl() { close(); }

const Device::Impl::Layouts& Device::Impl::layouts(std::size_t buffers) {
  const auto [at, fresh] = layouts_.try_emplace(buffers);
  if (!fresh) return at->second;
  std::vector<VkDescriptorSetLayoutBinding> bindings(buffers);
  for (std::uint32_t i = 0; i < buffers; ++i) {
    bindings[i].binding = i;
    bindings[i].descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER;
    bindings[i].descriptorCount = 1;
    bindings[i].stageFlags = VK_SHADER_STAGE_COMPUTE_BIT;
  }
  VkDescriptorSetLayoutCreateInfo set{};
  set.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO;
  set.bindingCount = static_cast<std::uint32_t>(buffers);
  set.pBindings = bindings.data();
  expect(vk.vkCreateDescriptorSetLayout(device, &set, nullptr, &at->second.set),
         "vkCreateDescriptorSetLayout");
  const VkPushConstantRange push{VK_SHADER_STAGE_COMPUTE_BIT, 0, kPushBytes};
  VkPipelineLayoutCreateInfo layout{};
  layout.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO;
  layout.setLayoutCount = 1;
  layout.pSetLayouts = &at->second.set;
  layout.pushConstantRangeCount = 1;
  layout.pPushConstantRanges = &push;
  expect(vk.vkCreatePipelineLayout(device, &layout, nullptr, &at->second.pipeline),
         "vkCreatePipelineLayout");
  return at->second;
}

VkShaderModule Device::Impl::module(const std::string& name) {
  const std::string plain = name + ".plain";
  const Shader* found = nullptr;
  for (const Shader& s : shaders()) {
    if (s.name == name && found == nullptr) found = &s;
    if (s.name == plain && !info.subgroup_arithmetic) found = &s;
  }
  KVSIM_CHECK(found != nullptr, "every shader that is named is embedded");
  VkShaderModuleCreateInfo create{};
  create.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO;
  create.codeSize = found->words.size_bytes();
  create.pCode = found->words.data();
  VkShaderModule module = VK_NULL_HANDLE;
  expect(vk.vkCreateShaderModule(device, &create, nullptr, &module), "vkCreateShaderModule");
  return module;
}

const Pipeline& Device::Impl::pipeline(const Step& step) {
  const auto key = std::pair(step.shader, step.constants);
  if (const auto at = pipelines_.find(key); at != pipelines_.end()) return at->second;
  const Layouts& l = layouts(step.buffers.size());
  const VkShaderModule code = module(step.shader);
  std::vector<VkSpecializationMapEntry> entries(step.constants.size());
  for (std::uint32_t i = 0; i < entries.size(); ++i) entries[i] = {i, i * 4, 4};
  VkSpecializationInfo constants{};
  constants.mapEntryCount = static_cast<std::uint32_t>(entries.size());
  constants.pMapEntries = entries.data();
  constants.dataSize = step.constants.size() * 4;
  constants.pData = step.constants.data();
  VkComputePipelineCreateInfo create{};
  create.sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO;
  create.stage.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO;
  create.stage.stage = VK_SHADER_STAGE_COMPUTE_BIT;
  create.stage.module = code;
  create.stage.pName = "main";
  create.stage.pSpecializationInfo = &constants;
  create.layout = l.pipeline;
  Pipeline made{VK_NULL_HANDLE, l.pipeline, l.set};
  const VkResult result =
      vk.vkCreateComputePipelines(device, VK_NULL_HANDLE, 1, &create, nullptr, &made.handle);
  vk.vkDestroyShaderModule(device, code, nullptr);
  expect(result, fmt::format("compiling the shader {}", step.shader).c_str());
  return pipelines_.emplace(key, made).first->second;
}

void Device::Impl::submit(VkCommandBuffer buffer) {
  VkSubmitInfo work{};
  work.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO;
  work.commandBufferCount = 1;
  work.pCommandBuffers = &buffer;
  expect(vk.vkResetFences(device, 1, &fence), "vkResetFences");
  expect(vk.vkQueueSubmit(queue, 1, &work, fence), "vkQueueSubmit");
  expect(vk.vkWaitForFences(device, 1, &fence, VK_TRUE, UINT64_MAX), "vkWaitForFences");
}

Device::Device(const Options& options) : impl_(std::make_unique<Impl>(options)) {}
Device::~Device() = default;
const DeviceInfo& Device::info() const { return impl_->info; }
std::vector<std::string> Device::messages() const { return impl_->instance.messages(); }

}  // namespace kvsim::kernels::vulkan
