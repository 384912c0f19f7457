#pragma once
// Attention on a Vulkan device; arguments and bounds as in kernels/attention.h. Results are within
// 1e-5 (relative L2 of a head) of the reference, 2e-4 when quantised.
#include <memory>
#include <span>

#include "kernels/attention.h"
#include "kernels/operation.h"
#include "kernels/vulkan/device.h"

namespace kvsim::kernels::vulkan {

// Copies the arguments to the device, runs, copies the result back. Throw InputError when the cache
// is larger than what a shader of the device can see.
void attend(const DecodeAttention&, Device&);
void attend(const PrefillAttention&, Device&);

// For repeated calls: each copy's arguments are put on the device once; caches that several copies
// share only once. fetch() fills the `out` of the copy that ran last. The arguments must outlive it.
std::unique_ptr<Bound> bind(Device&, std::span<const DecodeAttention> copies);
std::unique_ptr<Bound> bind(Device&, std::span<const PrefillAttention> copies);

}  // namespace kvsim::kernels::vulkan
