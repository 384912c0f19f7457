#pragma once
// The twins that run on a Vulkan device. Arguments and formulas as in the header that declares
// them; error bounds: kernels/README.md.
//
//   once(arguments, device)   copies the inputs to the device, runs, copies the results back
//   bind(device, copies)      for repeated calls: inputs stay on the device, those that several
//                             copies share only once; fetch() fills the outputs of the copy that
//                             ran last. What the arguments view must outlive it.
//
// Both throw InputError when a shape does not fit the device.
#include <memory>
#include <span>

#include "kernels/attention.h"
#include "kernels/operation.h"
#include "kernels/vulkan/device.h"

namespace kvsim::kernels::vulkan {

#define KVSIM_VULKAN_DECLARE(Arguments)                            \
  void once(const Arguments&, Device&);                            \
  std::unique_ptr<Bound> bind(Device&, std::span<const Arguments>);

KVSIM_VULKAN_DECLARE(DecodeAttention)
KVSIM_VULKAN_DECLARE(PrefillAttention)

#undef KVSIM_VULKAN_DECLARE

}  // namespace kvsim::kernels::vulkan
