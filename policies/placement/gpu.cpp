// KV stays on the GPU until its request ends or is preempted.
#include "policies/placement/placement.h"

namespace kvsim {
namespace {

class Gpu final : public TokenPlacement {
 public:
  struct Params {
    static constexpr Rows<> kFields{};
  };
  Gpu(Params, const Context&) {}
  [[nodiscard]] bool places() const override { return false; }
  PlacedTokens at(std::int64_t prompt, std::int64_t generated) override {
    const auto n = static_cast<double>(prompt + generated);
    return {.gpu = n, .read = n + 1};
  }
  std::vector<std::int64_t> bends(std::int64_t) override { return {}; }
  std::string describe(std::int64_t) override { return "all on the GPU"; }
};

const Register<Gpu> kSelf{"gpu", "all on the GPU", "vLLM, SGLang"};

}  // namespace
}  // namespace kvsim
