// Virtual memory of the GPU driver: each sequence has a contiguous address range per layer for K
// and for V, and physical pages are mapped into it as tokens come. A block is one page in every
// range at once. vAttention keeps an ended request's pages mapped for the next one in its slot;
// vTensor maps a physical page into several ranges to share prefixes.
//
// Default times are for pages of 2 MiB: cuMemMap 1.5 us and cuMemSetAccess 36 us, cuMemUnmap 26 us
// (vmm benchmark on an A100, github.com/magnate3/linux-riscv-dev nccl/gpu/shm/bench_vmm).
#include <fmt/format.h>

#include "policies/memory/memory.h"

namespace kvsim {
namespace {

using namespace std::chrono_literals;
using namespace literals;

class Virtual final : public MemoryManager {
 public:
  struct Params {
    Bytes page = 2_MiB;
    Duration map = 37500ns, unmap = 26us;
    bool overlap = true;
    bool deferred = true;
    std::int64_t eager_tokens = 0;
    static constexpr Rows kFields{
        field("page", &Params::page, between(Bytes{4096}, Bytes{std::int64_t{1} << 30}),
              "physical page; the driver offers 2 MiB, a changed one 64 KiB"),
        field("map", &Params::map, any, "driver time to map one page, with access rights"),
        field("unmap", &Params::unmap, any, "driver time to unmap one page"),
        field("overlap", &Params::overlap, any,
              "pages that running requests will need are mapped while the iteration before runs"),
        field("deferred", &Params::deferred, any,
              "pages of an ended request stay mapped for the next one; excludes prefix sharing"),
        field("eager_tokens", &Params::eager_tokens, between<std::int64_t>(0, 1 << 30),
              "mapped in the background for the next request; excludes prefix sharing")};
  };
  Virtual(Params p, const Context& c) : params_(p), context_(c), tokens_(p.page / c.plane) {
    if (tokens_ < 1)
      throw InputError("the page is smaller than K or V of one token in one layer",
                       "use a larger page, or more tensor ranks");
    if (c.shares_prefixes && (p.deferred || p.eager_tokens > 0))
      throw InputError(
          "pages kept for the next request cannot be shared",
          "set cache.prefix.index: none (vAttention), or deferred: false and eager_tokens: 0 "
          "(vTensor)");
  }
  MemoryRules rules() const override {
    MemoryRules r;
    r.block_tokens = tokens_;
    r.block_bytes = params_.page * context_.planes;
    r.null_block = false;
    r.map_block = params_.map * context_.planes;
    r.unmap_block = params_.unmap * context_.planes;
    r.map_ahead = params_.overlap;
    r.keep_mapped = params_.deferred;
    r.eager_blocks = (params_.eager_tokens + tokens_ - 1) / tokens_;
    return r;
  }

 private:
  Params params_;
  Context context_;
  std::int64_t tokens_;  // of one page
};

const Register<Virtual> kSelf{
    "virtual", "pages mapped into contiguous address ranges as tokens come",
    "Prabhu et al., vAttention, ASPLOS 2025, arXiv:2405.04437; vTensor, arXiv:2407.15309"};

}  // namespace
}  // namespace kvsim
