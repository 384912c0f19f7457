#pragma once
// `engine.preemption`: what becomes of the KV of requests that lose their place.
#include <array>
#include <cstdint>
#include <utility>

#include "sim/base/fields.h"
#include "sim/base/quantity.h"

namespace kvsim {

enum class PreemptionMode : std::uint8_t { recompute, swap };
constexpr auto enum_names(PreemptionMode) {
  return std::array{std::pair{PreemptionMode::recompute, "recompute"},
                    std::pair{PreemptionMode::swap, "swap"}};
}

enum class CopyTime : std::uint8_t { waited, beside, ahead };
constexpr auto enum_names(CopyTime) {
  return std::array{std::pair{CopyTime::waited, "waited"}, std::pair{CopyTime::beside, "beside"},
                    std::pair{CopyTime::ahead, "ahead"}};
}

enum class PreemptedPart : std::uint8_t { request, tail, layers };
constexpr auto enum_names(PreemptedPart) {
  return std::array{std::pair{PreemptedPart::request, "request"},
                    std::pair{PreemptedPart::tail, "tail"},
                    std::pair{PreemptedPart::layers, "layers"}};
}

// `preemption: swap`, or a mapping.
struct PreemptionSpec {
  PreemptionMode mode = PreemptionMode::recompute;
  Bytes space{std::int64_t{4} << 30};
  std::int64_t copy_blocks = 1;
  bool keeps_copies = false;
  CopyTime copies = CopyTime::waited;
  Ratio idle{0.05};
  PreemptedPart part = PreemptedPart::request;
  bool by_layer = false;
  static constexpr Rows kFields{
      field("mode", &PreemptionSpec::mode, any,
            "recompute: its KV is given up and computed again; swap: it is copied to host memory "
            "and back (vLLM before v1)"),
      field(
          "space", &PreemptionSpec::space, any,
          "of swap, and of tools that swap: host memory for it, a GPU; who finds no room there is "
          "computed again"),
      field("copy_blocks", &PreemptionSpec::copy_blocks, between<std::int64_t>(1, 1 << 20),
            "consecutive KV blocks that lie together, so that one copy moves them (FastSwitch: "
            "groups of about 60); larger copies use the link better"),
      field(
          "keeps_copies", &PreemptionSpec::keeps_copies, any,
          "of swap: what came back stays in host memory as well while there is room, and the next "
          "time only what is new is copied (FastSwitch)"),
      field(
          "copies", &PreemptionSpec::copies, any,
          "of swap. waited: the iteration that needs the room, or goes on with the request, waits "
          "for its copy; beside: copies run beside the iterations, from the preemption on and "
          "when the request's turn has come (FastSwitch); ahead: KV of preempted requests stays "
          "on the GPU while blocks are idle, leaves before they are short, farthest turn first, "
          "and comes back before its turn (FastServe)"),
      field("idle", &PreemptionSpec::idle, between(Ratio{0}, Ratio{1}),
            "of copies: ahead: share of the KV blocks kept free for newcomers"),
      field("part", &PreemptionSpec::part, any,
            "what a preempted request loses. request: all of its KV on the GPU; tail: its last "
            "blocks, as many as others need; layers: its last layers, as many as make that room; "
            "of swap both need copies: beside or ahead"),
      field("by_layer", &PreemptionSpec::by_layer, any,
            "of swap: an iteration that waits for copies begins with the first layer whose KV has "
            "come, or left its place, and not with the last")};
};
template <>
struct Codec<PreemptionSpec> {
  static bool read(const Tree&, PreemptionSpec&, Reader&);
  static Tree write(const PreemptionSpec&);
  static TypeInfo info();
};

}  // namespace kvsim
