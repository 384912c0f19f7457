#include "kernels/isa.h"

#include <hwy/targets.h>

#include <algorithm>
#include <atomic>
#include <fstream>

#include "sim/base/diagnostics.h"
#include "sim/base/fields.h"

namespace kvsim::kernels {

namespace {

// Highway's targets of each set; `portable` is what is left. A source file compiled for fewer
// targets takes the best it has within the set, at least its baseline.
std::int64_t targets_of(Isa isa) {
  const std::int64_t all = hwy::SupportedTargets();
#if HWY_ARCH_X86
  constexpr std::int64_t kAvx512 = HWY_AVX3 | HWY_AVX3_DL;
  switch (isa) {
    case Isa::best:
      return all;
    case Isa::avx512:
      return all & kAvx512;
    case Isa::avx2:
      return all & HWY_AVX2;
    case Isa::portable:
      return HWY_SCALAR | HWY_EMU128 | (all & ~(kAvx512 | HWY_AVX2));
  }
  return 0;
#else
  return isa == Isa::best || isa == Isa::portable ? all : 0;
#endif
}

std::atomic<Isa>& forced() {
  static std::atomic<Isa> isa{Isa::best};
  return isa;
}

}  // namespace

std::vector<Isa> supported_isas() {
  // The mock of force_isa() must not hide what the processor has.
  static const std::vector<Isa> all = [] {
    std::vector<Isa> found;
    for (const Isa isa : {Isa::avx512, Isa::avx2})
      if (targets_of(isa) != 0) found.push_back(isa);
    found.push_back(Isa::portable);
    return found;
  }();
  return all;
}

void force_isa(Isa isa) {
  const std::vector<Isa> all = supported_isas();
  if (isa != Isa::best && std::find(all.begin(), all.end(), isa) == all.end())
    throw InputError("this processor does not execute " + std::string(name_of(isa)),
                     "leave the choice to `best`");
  hwy::SetSupportedTargetsForTest(0);
  if (isa != Isa::best) hwy::SetSupportedTargetsForTest(targets_of(isa));
  forced() = isa;
}

std::string current_isa() {
  const Isa isa = forced();
  return std::string(name_of(isa == Isa::best ? supported_isas().front() : isa));
}

std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown processor";
}

}  // namespace kvsim::kernels
