#include "kernels/hash.h"

#include "kernels/cases/plain_case.h"

namespace kvsim::kernels {
namespace {

class HashCase final : public PlainCase<std::uint64_t> {
 public:
  struct Params {
    std::int32_t sequences = 64;
    std::int32_t tokens = 16384;
    std::int32_t block_tokens = 16;
    bool varied = false;
    static constexpr Rows kFields{
        field("sequences", &Params::sequences, between(0, 65536), "sequences"),
        field("tokens", &Params::tokens, between(0, 4'000'000), "ids of a sequence"),
        field("block_tokens", &Params::block_tokens, between(1, 65536), "ids of a block"),
        field("varied", &Params::varied, any, "sequences of 0 to `tokens` ids")};
  };

  HashCase(Params p, const Context& c) : p_(p) {
    Rng rng(c.seed, "hash-blocks");
    std::int64_t blocks = 0;
    for (std::int32_t s = 0; s < p.sequences; ++s) {
      const std::int64_t n =
          p.varied ? static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(p.tokens) + 1))
                   : p.tokens;
      hash_starts_.push_back(blocks);
      starts_.push_back(starts_.back() + n);
      blocks += n / p.block_tokens;
    }
    const auto n = static_cast<std::size_t>(starts_.back());
    const std::int64_t copies = copies_within(c.footprint, n * 4);
    ids_ = Copies<std::uint32_t>(n, copies);
    for (std::uint32_t& id : ids_[0]) id = static_cast<std::uint32_t>(rng.below(128256));
    ids_.repeat_first(copies);
    set_output(static_cast<std::size_t>(blocks), copies);
  }
  [[nodiscard]] std::vector<Tree> shapes(Purpose purpose, Rng rng,
                                         std::size_t count) const override {
    const auto odd = [](Rng& r) {
      return Params{pick(r, {0, 1, 3, 13}), pick(r, {0, 1, 15, 16, 300}),
                    pick(r, {1, 2, 3, 5, 16, 64}), r.below(2) == 0};
    };
    return shapes_of<Params>(purpose, rng, count, odd, {Params{}, Params{64, 16384, 64}});
  }
  [[nodiscard]] Traffic traffic() const override {
    return {4.0 * static_cast<double>(starts_.back()), 8.0 * static_cast<double>(out_[0].size()),
            0};
  }

 private:
  void call(std::int64_t copy, const Where& where) override {
    const BlockHashes a{p_.block_tokens, 1, starts_, ids_[copy], hash_starts_, out_[copy]};
    where.run(a, cpu::hash_blocks, reference::hash_blocks);
  }

  Params p_;
  std::vector<std::int64_t> starts_{0}, hash_starts_;
  Copies<std::uint32_t> ids_;
};

const Register<HashCase> kSelf{"hash-blocks",
                               "hash = mix(parent, xor of 128-bit products of the block's ids)",
                               "kernels/hash.h"};

}  // namespace
}  // namespace kvsim::kernels
