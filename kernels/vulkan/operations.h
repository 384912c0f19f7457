#pragma once
// The twins that run on a Vulkan device. Arguments and formulas as in the header that declares
// them; error bounds: kernels/README.md.
//
//   once(arguments, device)   copies the inputs to the device, runs, copies the results back
//   prepare(device, copies)   for repeated calls: inputs stay on the device, those that several
//                             copies share only once; fetch() fills the outputs of the copy that
//                             ran last. What the arguments view must outlive it.
//
// Both throw InputError when a shape does not fit the device.
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/attention.h"
#include "kernels/blocks.h"
#include "kernels/hash.h"
#include "kernels/low_rank.h"
#include "kernels/merge.h"
#include "kernels/operation.h"
#include "kernels/quantize.h"
#include "kernels/scores.h"
#include "kernels/transformer.h"
#include "kernels/vulkan/device.h"
#include "sim/base/diagnostics.h"

namespace kvsim::kernels::vulkan {

// Operations whose other twins are functions of several arguments.
struct Quantization {
  Codec codec;
  std::span<const float> in;
  Quantized out;
};
struct Dequantization {
  Codec codec;
  ConstQuantized in;
  std::span<float> out;
};
struct Reconstruction {  // x = basis^T y
  Projection projection;
};

#define KVSIM_VULKAN_DECLARE(Arguments) \
  void once(const Arguments&, Device&); \
  std::unique_ptr<Bound> prepare(Device&, std::span<const Arguments>);

KVSIM_VULKAN_DECLARE(DecodeAttention)
KVSIM_VULKAN_DECLARE(PrefillAttention)
KVSIM_VULKAN_DECLARE(KeyScores)
KVSIM_VULKAN_DECLARE(ScoreReduction)
KVSIM_VULKAN_DECLARE(TopK)
KVSIM_VULKAN_DECLARE(PageSummaries)
KVSIM_VULKAN_DECLARE(PageScores)
KVSIM_VULKAN_DECLARE(BlockCopy)
KVSIM_VULKAN_DECLARE(KeyReorder)
KVSIM_VULKAN_DECLARE(BlockHashes)
KVSIM_VULKAN_DECLARE(PageQuantization)  // between page formats, either direction
KVSIM_VULKAN_DECLARE(Quantization)
KVSIM_VULKAN_DECLARE(Dequantization)
KVSIM_VULKAN_DECLARE(NeighbourSimilarity)
KVSIM_VULKAN_DECLARE(NearestKept)
KVSIM_VULKAN_DECLARE(WeightedMerge)
KVSIM_VULKAN_DECLARE(LayerMerge)
KVSIM_VULKAN_DECLARE(Projection)  // y = basis x
KVSIM_VULKAN_DECLARE(Reconstruction)
KVSIM_VULKAN_DECLARE(Linear)
KVSIM_VULKAN_DECLARE(RmsNorm)
KVSIM_VULKAN_DECLARE(Rope)
KVSIM_VULKAN_DECLARE(SiluGate)
KVSIM_VULKAN_DECLARE(Softmax)

#undef KVSIM_VULKAN_DECLARE

// For operations of the harness: prepare() of arguments(0) .. arguments(copies - 1); null when they
// do not fit the device, and `why` says so.
template <class At>
std::unique_ptr<Bound> bind_copies(Device& device, std::int64_t copies, At arguments,
                                   std::string& why) {
  std::vector<decltype(arguments(std::int64_t{0}))> all;
  for (std::int64_t copy = 0; copy < copies; ++copy) all.push_back(arguments(copy));
  try {
    return prepare(device, all);
  } catch (const InputError& e) {
    why = e.what();
    return nullptr;
  }
}

}  // namespace kvsim::kernels::vulkan
