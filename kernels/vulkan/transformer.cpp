#include "kernels/transformer.h"

#include <array>
#include <cmath>

#include "kernels/vulkan/call.h"
#include "kernels/vulkan/operations.h"

namespace kvsim::kernels::vulkan {

void build(Call& call, const Linear& a) {
  const bool half = !a.weight_f16.empty();
  constexpr std::uint32_t kRows = 4;  // of x that a workgroup holds against one row of weights
  const Buffer& weight =
      half ? call.in(a.weight_f16, "the weights") : call.in(a.weight_f32, "the weights");
  call.for_groups({"linear",
                   {call.width(), half, kRows},
                   {&weight, &call.in(a.x, "the rows"), &call.out(a.out, "the result")},
                   {0, word(a.in_dim), word(a.out_dim), word(a.rows)},
                   {}},
                  static_cast<std::size_t>(a.out_dim), 0, (word(a.rows) + kRows - 1) / kRows);
}

void build(Call& call, const RmsNorm& a) {
  call.for_groups({"rms_norm",
                   {call.width()},
                   {&call.own(a.x, "the rows"), &call.in(a.weight, "the weights"),
                    &call.out(a.out, "the result")},
                   {0, word(a.dim), word(a.epsilon)},
                   {}},
                  static_cast<std::size_t>(a.rows), 0);
}

void build(Call& call, const Rope& a) {
  const std::size_t pairs = static_cast<std::size_t>(a.dim) / 2;
  std::vector<std::array<float, 2>> turns;  // [row][pair]: cosine and sine, of angles in double
  for (const std::int32_t position : a.positions)
    for (std::size_t i = 0; i < pairs; ++i) {
      const double angle =
          position * std::pow(a.theta, -2.0 * static_cast<double>(i) / static_cast<double>(a.dim));
      turns.push_back({static_cast<float>(std::cos(angle)), static_cast<float>(std::sin(angle))});
    }
  const std::size_t count = turns.size() * static_cast<std::size_t>(a.heads);
  call.for_each(
      {"rope",
       {call.width(), word(a.pairs == RopePairs::adjacent)},
       {&call.own<std::array<float, 2>>(turns, "the turns"), &call.out(a.x, "the heads", true)},
       {0, word(count), word(a.heads), word(pairs)},
       {}},
      count, 0);
}

void build(Call& call, const SiluGate& a) {
  call.for_each({"silu_gate",
                 {call.width()},
                 {&call.own(a.gate, "the gates"), &call.own(a.up, "what they gate"),
                  &call.out(a.out, "the result")},
                 {0, word(a.out.size())},
                 {}},
                a.out.size(), 0);
}

void build(Call& call, const Softmax& a) {
  if (a.columns == 0) return;
  call.for_groups({"softmax",
                   {call.width(), a.log},
                   {&call.own(a.x, "the rows"), &call.out(a.out, "the result")},
                   {0, word(a.columns)},
                   {}},
                  static_cast<std::size_t>(a.rows), 0);
}

void once(const Linear& a, Device& device) { run_once(a, device); }
void once(const RmsNorm& a, Device& device) { run_once(a, device); }
void once(const Rope& a, Device& device) { run_once(a, device); }
void once(const SiluGate& a, Device& device) { run_once(a, device); }
void once(const Softmax& a, Device& device) { run_once(a, device); }

}  // namespace kvsim::kernels::vulkan
