#pragma once
// Measures this project's kernels on a device of this machine, for the cost model `kernels`. The
// only place where a wall clock enters a simulation: before the event loop, into a profile that is
// kept, so that later runs are deterministic.
#include <functional>
#include <string>
#include <vector>

#include "hardware/device.h"
#include "kernels/harness/check.h"
#include "sim/base/work.h"
#include "sim/record/writer.h"

namespace kvsim {

// What a profile must hold for a model.
struct KernelNeeds {
  std::vector<std::string> linear;              // elements of weights: f16, f32
  std::vector<AttentionShape> decode, prefill;  // token_bytes is not used
};
KernelNeeds needs_of(const ModelWork&);
// What `profile` lacks of `needs`; both lists empty when nothing.
KernelNeeds missing(const KernelNeeds& needs, const KernelProfile& profile);
bool is_empty(const KernelNeeds&);

// What a scenario may fill with weights and KV on a CPU.
Bytes half_of_memory();

// A device file with the machine's rates and the times of norms and softmax, and none of the rest.
// memory: of the machine (CPU, half of it) or the device. `progress` may be empty.
DeviceSpec measure_device(const kernels::NamedTarget&, const std::string& id,
                          std::vector<KernelTiming>& timings,
                          const std::function<void(const std::string&)>& progress);
// Adds what is needed to the device's profile. Throws InputError when the device lacks an
// operation.
void measure(const KernelNeeds&, const kernels::NamedTarget&, DeviceSpec&,
             std::vector<KernelTiming>& timings,
             const std::function<void(const std::string&)>& progress);

// Measures anew what an iteration of `sequences` decodes takes (products, decode attention, norms
// and softmax, at the neighbouring points of the profile's grid) and puts it in place of the
// device's; a few seconds.
void measure_decodes(const KernelNeeds&, std::int64_t sequences, const kernels::NamedTarget&,
                     DeviceSpec&, std::vector<KernelTiming>& timings,
                     const std::function<void(const std::string&)>& progress);

}  // namespace kvsim
