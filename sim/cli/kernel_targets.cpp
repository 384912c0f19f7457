#include "sim/cli/kernel_targets.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>

#include "kernels/threads.h"
#include "kernels/vulkan/device.h"
#include "sim/base/diagnostics.h"

namespace kvsim {

namespace {

constexpr int kMostThreads = 256;

kernels::Isa isa_of(const std::string& name) {
  std::vector<std::string> names;
  for (const auto& [isa, text] : enum_names(kernels::Isa{})) {
    if (name == text) return isa;
    names.emplace_back(text);
  }
  throw InputError(fmt::format("--isa: unknown instruction set '{}'", name),
                   name_hint(name, names));
}

std::string isa_name(kernels::Isa wanted) {
  if (wanted == kernels::Isa::best) return kernels::current_isa();
  for (const auto& [isa, text] : enum_names(kernels::Isa{}))
    if (isa == wanted) return text;
  return {};
}

}  // namespace

KernelTargets::KernelTargets(const KernelTargetOptions& o, bool every_isa) {
  const auto wants = [&](const char* name) {
    return o.devices.empty() ||
           std::find(o.devices.begin(), o.devices.end(), name) != o.devices.end();
  };
  if (wants("cpu")) add_cpu(o, every_isa);
  if (o.devices.empty()) {
    try {
      add_vulkan("", o.validation);
    } catch (const InputError& e) {
      skipped_.push_back(std::string("vulkan: ") + e.what());
    }
  }
  for (const std::string& name : o.devices)
    if (name != "cpu") add_vulkan(name == "vulkan" ? "" : name, o.validation);
}

KernelTargets::~KernelTargets() = default;

void KernelTargets::add_cpu(const KernelTargetOptions& o, bool every_isa) {
  std::vector<kernels::Isa> isas;
  for (const std::string& name : o.isas) isas.push_back(isa_of(name));
  if (isas.empty()) isas = every_isa ? kernels::supported_isas() : std::vector{kernels::Isa::best};
  std::vector<int> counts = o.threads;
  if (counts.empty())
    counts.push_back(
        std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 1, kMostThreads));
  for (const int count : counts) {
    if (count < 1 || count > kMostThreads)
      throw InputError(fmt::format("--threads: expected 1 to {}", kMostThreads));
    teams_.push_back(std::make_unique<kernels::Threads>(count));
    for (const kernels::Isa isa : isas) {
      kernels::force_isa(isa);  // refuses what the processor lacks before anything runs
      all_.push_back(
          {fmt::format("cpu {}, {} thread{}", isa_name(isa), count, count > 1 ? "s" : ""),
           {.cpu = teams_.back().get()},
           isa});
    }
  }
  kernels::force_isa(kernels::Isa::best);
}

void KernelTargets::add_vulkan(const std::string& name, bool validation) {
  kernels::vulkan::Options options;
  options.name = name;
  options.validation = validation;
  devices_.push_back(std::make_unique<kernels::vulkan::Device>(options));
  const kernels::vulkan::DeviceInfo& info = devices_.back()->info();
  // Drivers put compilers and versions in brackets: "llvmpipe (LLVM 15.0.6, 256 bits)".
  const std::string short_name = info.name.substr(0, info.name.find(" ("));
  all_.push_back({fmt::format("vulkan {}{}", short_name, info.software ? ", software" : ""),
                  {.vulkan = devices_.back().get()}});
}

std::vector<std::string> KernelTargets::messages() const {
  std::vector<std::string> all;
  for (const auto& d : devices_)
    for (std::string& m : d->messages()) all.push_back(std::move(m));
  return all;
}

}  // namespace kvsim
