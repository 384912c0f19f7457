// Contiguous reservation, as before PagedAttention: all the memory a sequence will ever use, in one
// piece, at admission. The three lengths are the baselines of the vLLM paper: the model's maximum
// (FasterTransformer, Orca), the output rounded up to a power of two, and the true length, which
// nobody knows. That paper takes it that Orca finds places by a buddy allocator.
#include <algorithm>
#include <array>

#include "policies/memory/memory.h"

namespace kvsim {
namespace {

enum class Length { max, pow2, oracle };
constexpr auto enum_names(Length) {
  return std::array{std::pair{Length::max, "max"}, std::pair{Length::pow2, "pow2"},
                    std::pair{Length::oracle, "oracle"}};
}
class Reserved final : public MemoryManager {
 public:
  struct Params {
    Length by = Length::max;
    HoleFit fit = HoleFit::first;
    static constexpr Rows kFields{
        field("by", &Params::by, any,
              "length set aside: max_model_len, the prompt and the next power of two of the true "
              "output, or (oracle) prompt and true output"),
        field("fit", &Params::fit, any,
              "hole that is taken: the first, the tightest, or (buddy) regions rounded up to a "
              "power of "
              "two of blocks at multiples of their size")};
  };
  Reserved(Params p, const Context& c) : params_(p), context_(c) {
    if (c.shares_prefixes)
      throw InputError("contiguous regions cannot share prefixes",
                       "set cache.prefix.index: none, or cache.memory: paged");
  }
  MemoryRules rules() const override {
    MemoryRules r;
    r.block_tokens = context_.block_tokens;
    r.null_block = false;
    r.contiguous = true;
    r.fit = params_.fit;
    return r;
  }
  std::int64_t reserve(std::int64_t prompt, std::int64_t output) const override {
    const std::int64_t tokens = length(prompt, output);
    if (params_.fit != HoleFit::buddy) return tokens;
    const std::int64_t block = context_.block_tokens;
    return power_of_two((tokens + block - 1) / block) * block;
  }

 private:
  static std::int64_t power_of_two(std::int64_t n) {
    std::int64_t rounded = 1;
    while (rounded < n) rounded *= 2;
    return rounded;
  }
  std::int64_t length(std::int64_t prompt, std::int64_t output) const {
    switch (params_.by) {
      case Length::max:
        return context_.max_model_len;
      case Length::pow2:
        return std::min(prompt + power_of_two(output), context_.max_model_len);
      case Length::oracle:
        break;
    }
    return prompt + output;
  }
  Params params_;
  Context context_;
};

const Register<Reserved> kSelf{"reserved", "one contiguous region for the whole request",
                               "Yu et al., Orca, OSDI 2022; Kwon et al., SOSP 2023, section 6.1"};

}  // namespace
}  // namespace kvsim
