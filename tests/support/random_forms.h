#pragma once
// Compressed KV as no method makes it: phases, loads and turns at random, the same for the same
// prompt.
#include <map>

#include "sim/base/hash.h"
#include "sim/base/random.h"
#include "sim/engine/kv_form.h"

namespace kvsim::test {

class RandomForms final : public KvForms {
 public:
  RandomForms(std::uint64_t seed, std::int64_t block_tokens, bool caches)
      : seed_(seed), block_tokens_(block_tokens) {
    Rng rng(seed, "random-forms");
    const std::array all{Turn::in_place, Turn::own, Turn::left};
    turn_ = all[rng.below(caches ? 3 : 2)];
    step_ns_ = static_cast<std::int64_t>(rng.below(40));
    ahead_ = rng.below(2) == 0;
    layers_ = 1 + static_cast<std::int64_t>(rng.below(8));
  }

  const KvCurve& curve(std::int64_t prompt) override {
    const auto [at, fresh] = curves_.try_emplace(prompt);
    if (fresh) at->second = draw(prompt);
    return at->second;
  }
  PieceLoads piece(std::int64_t known, const PrefillPiece& p, PrefillPiece& priced) override {
    priced.history = p.history / 2;
    return {p.samples ? known : p.tokens / 3, p.tokens % 5};
  }

 private:
  [[nodiscard]] std::int64_t blocks_for(std::int64_t n) const {
    return (n + block_tokens_ - 1) / block_tokens_;
  }

  KvCurve draw(std::int64_t prompt) {
    Rng rng(hash_combine(seed_, static_cast<std::uint64_t>(prompt)), "curve");
    const auto below = [&](std::int64_t n) {
      return static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(n)));
    };
    KvCurve c;
    c.token = kLoadOne;
    c.block = kLoadOne * block_tokens_;
    const bool stays = turn_ == Turn::in_place;
    if (stays) {
      c.buffer = below(4) * kLoadOne;
      c.buffered = below(40);
      c.fixed = below(3) * c.block / 2;
    } else if (turn_ == Turn::own && below(2) == 0) {
      c.most = 1 + below(blocks_for(prompt));
    }
    const std::int64_t phases = 1 + below(3);
    for (std::int64_t i = 0; i < phases; ++i) {
      KvPhase p;
      const bool first = i == 0;
      if (!first) p.from = c.phases.back().from + 1 + below(30);
      // A form whose blocks stay has at least those of its tokens.
      const std::int64_t least = stays ? c.computing(prompt) : 1 + below(blocks_for(prompt) + 1);
      p.blocks = first ? least : c.phases.back().blocks_at(p.from);
      p.period = stays ? 1 + below(block_tokens_) : below(3 * block_tokens_ + 1);
      if (p.period > 0) p.offset = stays ? p.period - 1 : below(p.period);
      for (std::size_t k = 0; k < kTokenLoads; ++k) {
        p.level[k] = below(4000);
        p.slope[k] = below(30);
      }
      p.level[0] = below(prompt + 1) * kLoadOne;
      p.slope[0] = below(kLoadOne + 1);
      c.phases.push_back(p);
    }
    return c;
  }

  std::uint64_t seed_;
  std::int64_t block_tokens_;
  std::map<std::int64_t, KvCurve> curves_;
};

}  // namespace kvsim::test
