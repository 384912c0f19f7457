#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "kernels/vulkan/api.h"
#include "sim/base/diagnostics.h"

namespace kvsim::kernels::vulkan {

namespace {

constexpr const char* kLayer = "VK_LAYER_KHRONOS_validation";
constexpr const char* kInstall =
    "Debian and Ubuntu: apt install libvulkan1 and the driver of your GPU; "
    "mesa-vulkan-drivers has one that runs on the CPU";

std::string version_text(std::uint32_t v) {
  return fmt::format("{}.{}.{}", VK_API_VERSION_MAJOR(v), VK_API_VERSION_MINOR(v),
                     VK_API_VERSION_PATCH(v));
}

VKAPI_ATTR VkBool32 VKAPI_CALL on_message(VkDebugUtilsMessageSeverityFlagBitsEXT,
                                          VkDebugUtilsMessageTypeFlagsEXT,
                                          const VkDebugUtilsMessengerCallbackDataEXT* data,
                                          void* instance) {
  static_cast<Instance*>(instance)->collect(data->pMessage);
  return VK_FALSE;
}

DeviceKind kind_of(VkPhysicalDeviceType type) {
  switch (type) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU:
      return DeviceKind::discrete;
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU:
      return DeviceKind::integrated;
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU:
      return DeviceKind::virtual_gpu;
    case VK_PHYSICAL_DEVICE_TYPE_CPU:
      return DeviceKind::cpu;
    default:
      return DeviceKind::other;
  }
}

}  // namespace

void expect(VkResult result, const char* call) {
  if (result == VK_SUCCESS) return;
  if (result == VK_ERROR_OUT_OF_DEVICE_MEMORY || result == VK_ERROR_OUT_OF_HOST_MEMORY)
    throw InputError(fmt::format("Vulkan: {} ran out of memory", call),
                     "take a smaller shape, or a device with more memory");
  throw InputError(
      fmt::format("Vulkan: {} failed with VkResult {}", call, static_cast<int>(result)),
      "this is the driver's answer; another device or driver may do");
}

Instance::Instance(const Options& options) {
  library_ = dlopen(options.loader.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library_ == nullptr)
    throw InputError(fmt::format("no Vulkan: cannot open {}", options.loader), kInstall);
  try {
    vkGetInstanceProcAddr_ =
        reinterpret_cast<PFN_vkGetInstanceProcAddr>(dlsym(library_, "vkGetInstanceProcAddr"));
    if (vkGetInstanceProcAddr_ == nullptr)
      throw InputError(fmt::format("no Vulkan: {} is not its loader", options.loader), kInstall);
    create(options.validation);
  } catch (...) {
    if (instance_ != VK_NULL_HANDLE && vkDestroyInstance != nullptr)
      vkDestroyInstance(instance_, nullptr);
    dlclose(library_);
    throw;
  }
}

void Instance::create(bool validation) {
  const auto global = [&](const char* name) { return vkGetInstanceProcAddr_(nullptr, name); };
  const auto version =
      reinterpret_cast<PFN_vkEnumerateInstanceVersion>(global("vkEnumerateInstanceVersion"));
  std::uint32_t api = VK_API_VERSION_1_0;
  if (version != nullptr) expect(version(&api), "vkEnumerateInstanceVersion");
  if (api < VK_API_VERSION_1_2)
    throw InputError(fmt::format("no Vulkan 1.2: the loader has {}", version_text(api)), kInstall);

  VkApplicationInfo application{};
  application.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO;
  application.pApplicationName = "kvsim";
  application.apiVersion = VK_API_VERSION_1_2;
  VkInstanceCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO;
  info.pApplicationInfo = &application;
  const VkValidationFeatureEnableEXT enable =
      VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT;
  VkDebugUtilsMessengerCreateInfoEXT messenger{};
  messenger.sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT;
  messenger.messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT |
                              VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT;
  messenger.messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT;
  messenger.pfnUserCallback = on_message;
  messenger.pUserData = this;
  VkValidationFeaturesEXT features{};
  features.sType = VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT;
  features.pNext = &messenger;
  features.enabledValidationFeatureCount = 1;
  features.pEnabledValidationFeatures = &enable;
  const char* extension = VK_EXT_DEBUG_UTILS_EXTENSION_NAME;
  if (validation) {
    info.pNext = &features;
    info.enabledLayerCount = 1;
    info.ppEnabledLayerNames = &kLayer;
    info.enabledExtensionCount = 1;
    info.ppEnabledExtensionNames = &extension;
  }
  const auto create_instance = reinterpret_cast<PFN_vkCreateInstance>(global("vkCreateInstance"));
  const VkResult result = create_instance(&info, nullptr, &instance_);
  if (result == VK_ERROR_LAYER_NOT_PRESENT)
    throw InputError(fmt::format("Vulkan has no layer {}", kLayer),
                     "apt install vulkan-validationlayers, or run without validation");
  if (result == VK_ERROR_INCOMPATIBLE_DRIVER)
    throw InputError(
        "no Vulkan: the loader found no driver",
        fmt::format("{}. VK_ICD_FILENAMES, when set, names the only drivers that are looked at",
                    kInstall));
  expect(result, "vkCreateInstance");
#define KVSIM_VK_LOAD(name) \
  name = reinterpret_cast<PFN_##name>(vkGetInstanceProcAddr_(instance_, #name));
  KVSIM_VK_INSTANCE(KVSIM_VK_LOAD)
#undef KVSIM_VK_LOAD
  if (!validation) return;
  const auto create_messenger = reinterpret_cast<PFN_vkCreateDebugUtilsMessengerEXT>(
      vkGetInstanceProcAddr_(instance_, "vkCreateDebugUtilsMessengerEXT"));
  expect(create_messenger(instance_, &messenger, nullptr, &messenger_),
         "vkCreateDebugUtilsMessengerEXT");
}

Instance::~Instance() {
  if (messenger_ != VK_NULL_HANDLE)
    reinterpret_cast<PFN_vkDestroyDebugUtilsMessengerEXT>(vkGetInstanceProcAddr_(
        instance_, "vkDestroyDebugUtilsMessengerEXT"))(instance_, messenger_, nullptr);
  vkDestroyInstance(instance_, nullptr);
  dlclose(library_);
}

Instance::Candidate Instance::describe(VkPhysicalDevice handle) const {
  VkPhysicalDeviceDriverProperties driver{};
  driver.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES;
  VkPhysicalDeviceSubgroupProperties subgroup{};
  subgroup.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES;
  subgroup.pNext = &driver;
  VkPhysicalDeviceMaintenance3Properties maintenance{};
  maintenance.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES;
  maintenance.pNext = &subgroup;
  VkPhysicalDeviceProperties2 all{};
  all.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2;
  all.pNext = &maintenance;
  vkGetPhysicalDeviceProperties2(handle, &all);
  const VkPhysicalDeviceProperties& p = all.properties;

  Candidate c;
  c.handle = handle;
  DeviceInfo& i = c.info;
  i.name = static_cast<const char*>(p.deviceName);
  i.driver = fmt::format("{} {}", static_cast<const char*>(driver.driverName),
                         static_cast<const char*>(driver.driverInfo));
  i.kind = kind_of(p.deviceType);
  i.software = i.kind == DeviceKind::cpu;
  i.api = version_text(p.apiVersion);
  i.max_range = p.limits.maxStorageBufferRange;
  i.max_allocation = maintenance.maxMemoryAllocationSize;
  i.max_shared = p.limits.maxComputeSharedMemorySize;
  i.max_workgroup =
      std::min(p.limits.maxComputeWorkGroupInvocations, p.limits.maxComputeWorkGroupSize[0]);
  i.max_groups = p.limits.maxComputeWorkGroupCount[0];
  i.range_alignment = static_cast<std::uint32_t>(p.limits.minStorageBufferOffsetAlignment);
  i.subgroup_size = subgroup.subgroupSize;
  i.subgroup_arithmetic = (subgroup.supportedStages & VK_SHADER_STAGE_COMPUTE_BIT) != 0 &&
                          (subgroup.supportedOperations & VK_SUBGROUP_FEATURE_ARITHMETIC_BIT) != 0;
  i.timestamp_ns = static_cast<double>(p.limits.timestampPeriod);
  if (p.apiVersion < VK_API_VERSION_1_2)
    i.unusable = fmt::format("has Vulkan {}, 1.2 is needed", i.api);

  VkPhysicalDeviceMemoryProperties memory{};
  vkGetPhysicalDeviceMemoryProperties(handle, &memory);
  for (std::uint32_t h = 0; h < memory.memoryHeapCount; ++h)
    if ((memory.memoryHeaps[h].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT) != 0)
      i.memory_bytes = std::max<std::uint64_t>(i.memory_bytes, memory.memoryHeaps[h].size);

  std::uint32_t count = 0;
  vkGetPhysicalDeviceQueueFamilyProperties(handle, &count, nullptr);
  std::vector<VkQueueFamilyProperties> families(count);
  vkGetPhysicalDeviceQueueFamilyProperties(handle, &count, families.data());
  const auto compute = std::find_if(families.begin(), families.end(), [](const auto& f) {
    return (f.queueFlags & VK_QUEUE_COMPUTE_BIT) != 0;
  });
  if (compute == families.end()) {
    i.unusable = "has no queue for compute shaders";
    return c;
  }
  c.queue_family = static_cast<std::uint32_t>(compute - families.begin());
  i.timestamp_bits = compute->timestampValidBits;
  return c;
}

std::vector<Instance::Candidate> Instance::candidates() const {
  std::uint32_t count = 0;
  const VkResult result = vkEnumeratePhysicalDevices(instance_, &count, nullptr);
  if (result == VK_ERROR_INITIALIZATION_FAILED) return {};  // what some loaders say without drivers
  expect(result, "vkEnumeratePhysicalDevices");
  std::vector<VkPhysicalDevice> handles(count);
  expect(vkEnumeratePhysicalDevices(instance_, &count, handles.data()),
         "vkEnumeratePhysicalDevices");
  std::vector<Candidate> all;
  all.reserve(count);
  for (const VkPhysicalDevice handle : handles) all.push_back(describe(handle));
  std::stable_sort(all.begin(), all.end(), [](const Candidate& a, const Candidate& b) {
    return std::pair(!a.info.unusable.empty(), a.info.kind) <
           std::pair(!b.info.unusable.empty(), b.info.kind);
  });
  return all;
}

std::vector<std::string> Instance::messages() const {
  const std::lock_guard lock(mutex_);
  return messages_;
}
void Instance::collect(std::string message) {
  const std::lock_guard lock(mutex_);
  messages_.push_back(std::move(message));
}

std::vector<DeviceInfo> devices(const Options& options) {
  std::vector<DeviceInfo> all;
  for (Instance::Candidate& c : Instance(options).candidates()) all.push_back(std::move(c.info));
  return all;
}

}  // namespace kvsim::kernels::vulkan
