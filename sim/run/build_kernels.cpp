#include "sim/run/build_kernels.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
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

fs::path profile_folder() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  if (cache != nullptr && *cache != '\0') return fs::path(cache) / "kvsim";
  const char* home = std::getenv("HOME");
  if (home != nullptr && *home != '\0') return fs::path(home) / ".cache" / "kvsim";
  throw InputError("no place to keep the measured profile: HOME and XDG_CACHE_HOME are not set",
                   "set one, or name a file that `kvsim kernels calibrate -o FILE` wrote as "
                   "deployment.hardware");
}

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

DeviceSpec local_profile(const std::string& name, const ModelWork& model,
                         std::vector<KernelPoint>& points,
                         const std::function<void(const std::string&)>& progress) {
  const KernelNeeds needs = needs_of(model);
  const LocalDevice local(name);
  const fs::path path = profile_folder() / (local.id() + ".yaml");
  const bool is_kept = fs::exists(path);
  DeviceSpec device =
      is_kept ? read_profile(path) : measure_device(local.target(), local.id(), points, progress);
  const KernelNeeds lacks = missing(needs, *device.kernels);
  if (is_kept && is_empty(lacks)) return device;
  measure(lacks, local.target(), device, points, progress);
  write_profile(path, device);
  return read_profile(path);  // the rounded figures, as every later run has them
}

}  // namespace kvsim
