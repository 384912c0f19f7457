// Paging, with the memory set aside for activations lent to KV while an iteration does not need it.
// A large prefill gets it back by computing fewer tokens at once or by waiting; eLLM's detour of KV
// through CPU memory is not modelled.
#include "policies/memory/memory.h"

namespace kvsim {
namespace {

class Pooled final : public MemoryManager {
 public:
  struct Params {
    Ratio lent{1.0};
    static constexpr Rows kFields{field("lent", &Params::lent, between(Ratio{0}, Ratio{1}),
                                        "share of the memory for activations that KV may take")};
  };
  Pooled(Params p, const Context& c) : params_(p), context_(c) {
    if (c.activation_bytes <= 0)
      throw InputError("no memory is set aside for activations, so nothing can be lent",
                       "give engine.activation_memory, or set cache.memory: paged");
  }
  MemoryRules rules() const override {
    const auto lent = static_cast<std::int64_t>(params_.lent.value *
                                                static_cast<double>(context_.activation_bytes));
    MemoryRules r;
    r.block_tokens = context_.block_tokens;
    r.lent_blocks = lent / context_.block_bytes;
    r.activation_bytes = context_.activation_bytes;
    r.activation_tokens = context_.max_batched_tokens;
    r.unlent_bytes = context_.activation_bytes - r.lent_blocks * context_.block_bytes;
    r.pool_block_bytes = context_.block_bytes;
    return r;
  }

 private:
  Params params_;
  Context context_;
};

const Register<Pooled> kSelf{"pooled", "paged, and idle activation memory is lent to KV",
                             "eLLM, arXiv:2506.15155"};

}  // namespace
}  // namespace kvsim
