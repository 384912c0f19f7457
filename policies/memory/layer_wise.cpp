// KV handed out layer by layer: a long prompt need not wait until there is room for all layers of
// it. It comes in with some on the GPU; the others go to host memory as they are computed. How it
// decodes then, the paper's abstract does not say: both ways are here.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "policies/memory/memory.h"

namespace kvsim {
namespace {

using namespace literals;

enum class Decode { wait, stream };
constexpr auto enum_names(Decode) {
  return std::array{std::pair{Decode::wait, "wait"}, std::pair{Decode::stream, "stream"}};
}

class LayerWise final : public MemoryManager {
 public:
  struct Params {
    std::int64_t resident = 0;
    Decode decode = Decode::wait;
    Bytes space = 64_GiB;
    Duration tpot{};
    static constexpr Rows kFields{
        field("resident", &Params::resident, between<std::int64_t>(0, 1 << 16),
              "layers of such a prompt that stay on the GPU; 0 = as few as leave the rest time to "
              "move to host memory while the prompt is computed"),
        field("decode", &Params::decode, any,
              "wait: after its first token the request waits in host memory until all of its KV "
              "has room; stream: it decodes at once, and the layers come for every iteration, "
              "beside the computing of others"),
        field("space", &Params::space, any, "host memory for the others, a GPU"),
        field("tpot", &Params::tpot, any,
              "prompts are admitted only while the running decodes keep this mean time per token; "
              "0 = always")};
  };
  LayerWise(Params p, const Context& c) : params_(p), context_(c) {
    if (c.shares_prefixes)
      throw InputError("a prompt whose layers lie apart cannot share its prefix",
                       "set cache.prefix.index: none, or cache.memory: paged");
    if (p.resident > c.layers)
      throw InputError(
          fmt::format("{} layers are to stay, the model has {} with KV", p.resident, c.layers),
          "lower cache.memory.resident, or 0 to have it chosen");
  }
  [[nodiscard]] MemoryRules rules() const override {
    MemoryRules r;
    r.block_tokens = context_.block_tokens;
    r.layers = context_.layers;
    r.host_bytes = params_.space;
    r.parks = params_.decode == Decode::wait;
    r.tpot_bound = params_.tpot;
    return r;
  }
  // The layers that leave need transfers of `move` / layers each, all of them within `compute`. One
  // stays at least: its place is that of the layer under way.
  [[nodiscard]] std::int64_t resident_layers(Duration compute, Duration move) const override {
    if (params_.resident > 0) return params_.resident;
    if (move <= Duration{0}) return 1;
    const std::int64_t leave = std::min(context_.layers, compute * context_.layers / move);
    return std::max<std::int64_t>(1, context_.layers - leave);
  }

 private:
  Params params_;
  Context context_;
};

const Register<LayerWise> kSelf{"layer-wise",
                                "paged, and prompts that lack room come in with some of the layers",
                                "Xiong et al., LayerKV, arXiv:2410.00428"};

}  // namespace
}  // namespace kvsim
