#pragma once
// `engine.lora`: adapters that requests name (sim/engine/adapters.h).
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "sim/base/fields.h"
#include "sim/base/quantity.h"

namespace kvsim {

enum class LoraTargets : std::uint8_t { attention, all };
constexpr auto enum_names(LoraTargets) {
  return std::array{std::pair{LoraTargets::attention, "attention"},
                    std::pair{LoraTargets::all, "all"}};
}

struct LoraSpec {
  std::int64_t adapters = 1;
  double zipf = 1;
  Ratio share{1};
  std::int64_t rank = 16, slots = 8;
  LoraTargets targets = LoraTargets::all;
  std::optional<Bandwidth> link;
  std::vector<std::string> names;
  static constexpr Rows kFields{
      field("adapters", &LoraSpec::adapters, between<std::int64_t>(1, 1'000'000),
            "distinct ones; a request, or a session, keeps the one that it draws"),
      field("zipf", &LoraSpec::zipf, between(0.0, 10.0),
            "exponent of their popularity; 0 = all alike"),
      field("share", &LoraSpec::share, between(Ratio{0}, Ratio{1}),
            "of requests that name one; the others use the base model"),
      field("rank", &LoraSpec::rank, between<std::int64_t>(1, 4096), "of the two factors"),
      field("slots", &LoraSpec::slots, between<std::int64_t>(1, 65536),
            "adapters on a GPU, and most distinct ones in a batch (vLLM's max_loras); their memory "
            "is taken from that for KV"),
      field("targets", &LoraSpec::targets, any,
            "projections with an adapter: those of attention, or all linear layers"),
      field("link", &LoraSpec::link, any,
            "that adapters come over from host memory; default: the GPU's"),
      field("names", &LoraSpec::names, any,
            "of the adapters, as the field `adapter` of a trace's requests says them (none: the "
            "base model): nothing is drawn, in place of adapters, zipf and share")};
};

}  // namespace kvsim
