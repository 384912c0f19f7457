#pragma once
// What an iteration costs on the GPU: the contract that every cost law implements.
#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "sim/base/registry.h"
#include "sim/base/time.h"
#include "sim/base/work.h"

namespace kvsim {

struct DeviceSpec;   // hardware/device.h
struct LinkSpec;     // hardware/device.h
struct NodeSpec;     // hardware/node.h
struct StorageSpec;  // hardware/storage.h

// Price of a decode-only iteration as an integer linear form, in units of 2^-shift ns:
//   price = base + per_context * decode_context_sum + per_max * decode_context_max
//           + sum_i per_window[i] * decode_window_sum[i]
// The coefficients depend only on the cell that the shape lies in (number of decodes, table cells),
// never on the position inside it, so that fast-forwarding and stepping give the same nanoseconds.
struct DecodeLine {
  std::int64_t base = 0, per_context = 0, per_max = 0;
  std::array<std::int64_t, kMaxWindows> per_window{};
  // The shape, and the next `iterations - 1` shapes that arise when every context grows by one, lie
  // in this cell. >= 1.
  std::int64_t iterations = 1;

  // Room for iterations of 270 s. A cost law of longer ones takes a coarser unit, the same for
  // every shape.
  static constexpr int kShift = 24;
  int shift = kShift;
  // In the line's own unit.
  [[nodiscard]] std::int64_t value(const StepShape& s) const {
    std::int64_t v = base + per_context * s.decode_context_sum + per_max * s.decode_context_max;
    for (std::size_t i = 0; i < kMaxWindows; ++i) v += per_window[i] * s.decode_window_sum[i];
    return v;
  }
  // To whole nanoseconds.
  [[nodiscard]] constexpr std::int64_t round_up(std::int64_t v) const {
    return (v + ((std::int64_t{1} << shift) - 1)) >> shift;
  }
  [[nodiscard]] Duration at(const StepShape& s) const { return Duration{round_up(value(s))}; }
};

// Where an engine that runs with less GPU memory than the model needs keeps its parts. Shares from
// 0 to 1 of all bytes; what is neither on the GPU nor in host memory is on drives.
struct Residence {
  double gpu = 1, cpu = 0;
  [[nodiscard]] double ssd() const { return 1 - gpu - cpu; }
};
struct Offload {
  Residence weights, kv, activations;
  int micro_batches = 1;  // of a block of sequences
  // Bytes of scales per number that is stored in fewer than 16 bits.
  double weight_scale_bytes = 0, kv_scale_bytes = 0;
  // KV has no shares: it takes what is left of GPU memory first, then of host memory.
  bool fills = false;
};

class CostModel {
 public:
  using Contract = CostModel;
  static constexpr const char* kKind = "cost-model";
  struct Context {
    const ModelWork* model = nullptr;
    const DeviceSpec* device = nullptr;
    const LinkSpec* interconnect = nullptr;  // between the GPUs of one instance
    Parallel parallel;
    std::string base_dir;  // relative paths of parameters start here
    // The machine around the device: a law that moves data through it needs them.
    const NodeSpec* node = nullptr;
    const std::map<std::string, StorageSpec>* storage = nullptr;  // its drives by id
    double kv_bits = 16;                                          // of a cached number
  };

  virtual ~CostModel() = default;
  // GPU time of the iteration, collectives and all pipeline stages included, without the host's
  // overhead. Pure: the same shape gives the same price. Shapes without a prefill are priced by
  // decode_line().
  [[nodiscard]] virtual Duration mixed_step(const StepShape&) = 0;
  [[nodiscard]] virtual DecodeLine decode_line(const StepShape&) = 0;
  // The price of mixed_step() in units of 2^-DecodeLine::kShift ns, before it is rounded.
  [[nodiscard]] virtual std::int64_t mixed_price(const StepShape& s) {
    return to_ns(mixed_step(s)) << DecodeLine::kShift;
  }
  // The same price taken apart by operator, in nanoseconds, for `kvsim show` and reports.
  struct Part {
    std::string name;
    double ns = 0;
  };
  [[nodiscard]] virtual std::vector<Part> explain(const StepShape&) = 0;
  // Whether prices know drafts, and shared prefixes that are read once (StepShape).
  [[nodiscard]] virtual bool verifies_drafts() const { return false; }
  [[nodiscard]] virtual bool shares_prefixes() const { return false; }
  // Nothing: weights, KV and activations live on the GPU. Otherwise memory below it counts as well.
  [[nodiscard]] virtual const Offload* offload() const { return nullptr; }
  // Of an offload that fills: tokens whose KV lies on the GPU.
  virtual void sized(std::int64_t /*gpu_tokens*/) {}
};

}  // namespace kvsim
