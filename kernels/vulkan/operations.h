#pragma once
// The twins that run on a Vulkan device. Arguments and formulas as in the header that declares
// them; error bounds: kernels/README.md.
//
//   once(arguments, device)   copies the inputs to the device, runs, copies the results back
//   Calls (call.h)            for repeated calls: inputs stay on the device, those that several
//                             calls share only once; fetch() fills the outputs of the call that
//                             ran last. What the arguments view must outlive it.
//
// Both throw InputError when a shape does not fit the device.
#include <span>

#include "kernels/attention.h"
#include "kernels/blocks.h"
#include "kernels/condition.h"
#include "kernels/hash.h"
#include "kernels/low_rank.h"
#include "kernels/merge.h"
#include "kernels/quantize.h"
#include "kernels/scores.h"
#include "kernels/transformer.h"
#include "kernels/vulkan/device.h"

namespace kvsim::kernels::vulkan {

class Call;

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
  void build(Call&, const Arguments&);

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
KVSIM_VULKAN_DECLARE(Rotation)
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

}  // namespace kvsim::kernels::vulkan
