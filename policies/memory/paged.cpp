// PagedAttention: blocks of a few tokens anywhere in memory, taken when their first token comes.
// Waste: the rest of a sequence's last block.
#include "policies/memory/memory.h"

namespace kvsim {
namespace {

class Paged final : public MemoryManager {
 public:
  struct Params {
    static constexpr Rows<> kFields{};
  };
  Paged(Params, const Context& c) : block_tokens_(c.block_tokens) {}
  MemoryRules rules() const override {
    MemoryRules r;
    r.block_tokens = block_tokens_;
    return r;
  }

 private:
  std::int64_t block_tokens_;
};

const Register<Paged> kSelf{"paged", "blocks of engine.block_tokens, taken as tokens come",
                            "Kwon et al., vLLM, SOSP 2023, doi:10.1145/3600006.3613165"};

}  // namespace
}  // namespace kvsim
