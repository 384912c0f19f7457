#pragma once
// What an iteration costs on the GPU: the contract that every cost law implements.
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "sim/base/registry.h"
#include "sim/base/time.h"
#include "sim/base/work.h"

namespace kvsim {

struct DeviceSpec;  // hardware/device.h
struct LinkSpec;    // hardware/device.h

// Price of a decode-only iteration as an integer linear form, in units of 2^-24 ns:
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

  static constexpr int kShift = 24;
  // In the line's own unit.
  [[nodiscard]] std::int64_t value(const StepShape& s) const {
    std::int64_t v = base + per_context * s.decode_context_sum + per_max * s.decode_context_max;
    for (std::size_t i = 0; i < kMaxWindows; ++i) v += per_window[i] * s.decode_window_sum[i];
    return v;
  }
  // To whole nanoseconds.
  static constexpr std::int64_t round_up(std::int64_t v) {
    return (v + ((std::int64_t{1} << kShift) - 1)) >> kShift;
  }
  [[nodiscard]] Duration at(const StepShape& s) const { return Duration{round_up(value(s))}; }
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
  };

  virtual ~CostModel() = default;
  // GPU time of the iteration, collectives and all pipeline stages included, without the host's
  // overhead. Pure: the same shape gives the same price. Shapes without a prefill are priced by
  // decode_line().
  [[nodiscard]] virtual Duration mixed_step(const StepShape&) = 0;
  [[nodiscard]] virtual DecodeLine decode_line(const StepShape&) = 0;
  // The same price taken apart by operator, in nanoseconds, for `kvsim show` and reports.
  struct Part {
    std::string name;
    double ns = 0;
  };
  [[nodiscard]] virtual std::vector<Part> explain(const StepShape&) = 0;
};

}  // namespace kvsim
