// Contiguous reservation, as before PagedAttention: all the memory a sequence will ever use, in one
// piece, at admission. The three lengths are the baselines of the vLLM paper: the model's maximum
// (FasterTransformer, Orca), the output rounded up to a power of two, and the true length, which
// nobody knows.
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
enum class Fit { first, best };
constexpr auto enum_names(Fit) {
  return std::array{std::pair{Fit::first, "first"}, std::pair{Fit::best, "best"}};
}

class Reserved final : public MemoryManager {
 public:
  struct Params {
    Length by = Length::max;
    Fit fit = Fit::first;
    static constexpr std::tuple kFields{
        field("by", &Params::by, any,
              "length set aside: max_model_len, the prompt and the next power of two of the true "
              "output, or (oracle) prompt and true output"),
        field("fit", &Params::fit, any, "hole that is taken: the first or the tightest")};
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
    r.best_fit = params_.fit == Fit::best;
    return r;
  }
  std::int64_t reserve(std::int64_t prompt, std::int64_t output) const override {
    std::int64_t rounded = 1;
    while (rounded < output) rounded *= 2;
    switch (params_.by) {
      case Length::max:
        return context_.max_model_len;
      case Length::pow2:
        return std::min(prompt + rounded, context_.max_model_len);
      case Length::oracle:
        break;
    }
    return prompt + output;
  }

 private:
  Params params_;
  Context context_;
};

const Register<Reserved> kSelf{"reserved", "one contiguous region for the whole request",
                               "Yu et al., Orca, OSDI 2022; Kwon et al., SOSP 2023, section 6.1"};

}  // namespace
}  // namespace kvsim
