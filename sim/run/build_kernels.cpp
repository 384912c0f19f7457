#include "sim/run/build_kernels.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <fstream>
#include <thread>

#include "kernels/threads.h"
#include "kernels/vulkan/device.h"
#include "sim/base/diagnostics.h"
#include "sim/scenario/yaml.h"

namespace kvsim {

namespace fs = std::filesystem;

namespace {

// "AMD EPYC 9654 96-Core" as "amd-epyc-9654-96-core"
std::string slug(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0)
      out += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    else if (!out.empty() && out.back() != '-')
      out += '-';
  }
  while (!out.empty() && out.back() == '-') out.pop_back();
  return out.substr(0, 80);
}

}  // namespace

LocalDevice::LocalDevice(const std::string& name, int threads) {
  if (name == "cpu") {
    const int all = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
    const int count = threads > 0 ? threads : std::min(all, 256);
    team_ = std::make_unique<kernels::Threads>(count);
    target_ = {
        fmt::format("cpu {}, {} thread{}", kernels::current_isa(), count, count > 1 ? "s" : ""),
        {.cpu = team_.get()}};
    id_ = fmt::format("cpu-{}-{}t", slug(kernels::cpu_name()), count);
  } else if (name == "vulkan") {
    vulkan_ = std::make_unique<kernels::vulkan::Device>();
    target_ = {"vulkan " + vulkan_->info().name, {.vulkan = vulkan_.get()}};
    id_ = "vulkan-" + slug(vulkan_->info().name);
  } else {
    throw InputError(fmt::format("unknown device '{}' of this machine", name),
                     "valid: cpu, vulkan");
  }
}

LocalDevice::~LocalDevice() = default;

DeviceSpec read_profile(const fs::path& path) {
  Diagnostics d;
  Reader r(d);
  DeviceSpec device;
  const Tree tree = load_yaml(path.string(), d);
  d.throw_if_any();
  read_fields(device, tree, r);
  d.throw_if_any();
  if (!device.kernels)
    throw InputError(fmt::format("{}: holds no `kernels`", path.string()),
                     "`kvsim kernels calibrate -o FILE` writes such a file");
  return device;
}

void write_profile(const fs::path& path, const DeviceSpec& device) {
  std::error_code ec;
  if (path.has_parent_path()) fs::create_directories(path.parent_path(), ec);
  const fs::path part = path.string() + fmt::format(".part-{}", getpid());
  std::ofstream out(part, std::ios::binary);
  out << to_yaml(write_fields(device));
  out.close();
  if (out.good()) fs::rename(part, path, ec);
  if (!out.good() || ec) {
    fs::remove(part, ec);
    throw InputError(fmt::format("{}: cannot write", path.string()),
                     "check the folder and the disk");
  }
}

DeviceSpec local_profile(const std::string& name, const ModelWork& model, const fs::path& folder,
                         std::vector<KernelTiming>& timings,
                         const std::function<void(const std::string&)>& progress) {
  const KernelNeeds needs = needs_of(model);
  const LocalDevice local(name);
  const fs::path path = folder / (local.id() + ".yaml");
  const bool is_kept = fs::exists(path);
  DeviceSpec device =
      is_kept ? read_profile(path) : measure_device(local.target(), local.id(), timings, progress);
  const KernelNeeds lacks = missing(needs, *device.kernels);
  if (is_kept && is_empty(lacks)) return device;
  measure(lacks, local.target(), device, timings, progress);
  write_profile(path, device);
  return read_profile(path);  // the rounded figures, as every later run has them
}

DeviceSpec unmeasured_device(const std::string& device, const ModelWork& model) {
  if (device != "cpu" && device != "vulkan")
    throw InputError(fmt::format("unknown device '{}' of this machine", device),
                     "valid: cpu, vulkan");
  const KernelNeeds needs = needs_of(model);
  DeviceSpec d;
  d.name = device;
  d.memory = half_of_memory();
  d.bandwidth = Bandwidth{1};
  KernelProfile& p = d.kernels.emplace();
  for (const std::string& element : needs.linear) p.linear.push_back({element, 1, 0, 0});
  const auto row = [](const AttentionShape& a) {
    return AttentionTime{a.element, a.q_heads, a.kv_heads, a.key_dim, a.value_dim,
                         a.latent,  1,         0,          0};
  };
  for (const AttentionShape& a : needs.decode) p.decode.push_back(row(a));
  for (const AttentionShape& a : needs.prefill) p.prefill.push_back(row(a));
  return d;
}

}  // namespace kvsim
