#include "sim/quality/fit.h"

#include <algorithm>
#include <array>
#include <functional>

#include "policies/token/compose.h"
#include "policies/token/footprint.h"

namespace kvsim::quality {

using token::TokenPolicies;

namespace {

token::Footprint footprint(const TokenPolicies& p, const token::KvShape& s, std::int64_t prompt,
                           std::int64_t steps) {
  return token::FootprintModel(p, s).at(prompt, steps);
}

bool is_sound(const TokenPolicies& p, const token::KvShape& shape) {
  token::Surroundings around;
  around.shape = shape;
  const auto findings = check_composition(p, around);
  return std::none_of(findings.begin(), findings.end(), [](const auto& f) { return f.error; });
}

TokenPolicies with_tokens(TokenPolicies p, std::int64_t tokens) {
  p.budget->size = {tokens, 0};
  return p;
}
TokenPolicies with_ratio(TokenPolicies p, double ratio) {
  p.merge->ratio = ratio;
  return p;
}
// Sides that stay as they are (share 1 of coordinates that are not flattened) do so.
TokenPolicies with_rank(TokenPolicies p, double share) {
  token::LowRankSpec& r = *p.low_rank;
  if (r.key_rank > 0 || r.key_share.value < 1 || r.flat) r.key_share = Ratio{share}, r.key_rank = 0;
  if (r.value_rank > 0 || r.value_share.value < 1 || r.flat)
    r.value_share = Ratio{share}, r.value_rank = 0;
  return p;
}
TokenPolicies with_bits(TokenPolicies p, double key, double value) {
  p.quantize->bits.reset();
  p.quantize->key_bits = key;
  p.quantize->value_bits = value;
  p.quantize->low_key_bits = std::min(p.quantize->low_key_bits, key);
  p.quantize->low_value_bits = std::min(p.quantize->low_value_bits, value);
  return p;
}

}  // namespace

double read_bytes(const TokenPolicies& p, const token::KvShape& s, std::int64_t prompt,
                  std::int64_t steps) {
  const token::Footprint f = footprint(p, s, prompt, steps);
  return f.read_bytes + f.far_bytes + f.index_bytes;
}

double index_and_state_bytes(const TokenPolicies& p, const token::KvShape& s, std::int64_t prompt,
                             std::int64_t steps) {
  const token::StoredBytes stored = footprint(p, s, prompt, steps).stored;
  return stored.summaries + stored.state;
}

double byte_share(const TokenPolicies& p, const token::KvShape& s, std::int64_t prompt,
                  std::int64_t steps) {
  if (p.retrieve)
    return read_bytes(p, s, prompt, steps) / read_bytes(TokenPolicies{}, s, prompt, steps);
  return footprint(p, s, prompt, steps).stored.total() /
         (s.token_bytes() * static_cast<double>(prompt + steps));
}

Knob knob_of(const TokenPolicies& p) {
  if (p.budget && (p.select || p.retrieve)) return Knob::budget;
  if (p.merge && p.merge->target == token::MergeTarget::previous) return Knob::ratio;
  if (p.low_rank) return Knob::rank;
  return p.quantize ? Knob::bits : Knob::none;
}

std::optional<TokenPolicies> fit_to_share(const TokenPolicies& p, const token::KvShape& shape,
                                          std::int64_t prompt, std::int64_t steps, double share) {
  // Rounding of the arithmetic must not cost a whole cache its last token.
  const auto fits = [&](const TokenPolicies& t) {
    return is_sound(t, shape) && byte_share(t, shape, prompt, steps) <= share * (1 + 1e-9);
  };
  const auto largest =
      [&](std::int64_t low, std::int64_t high,
          const std::function<TokenPolicies(std::int64_t)>& made) -> std::optional<TokenPolicies> {
    if (!fits(made(low))) return std::nullopt;
    while (low < high) {
      const std::int64_t middle = low + (high - low + 1) / 2;
      if (fits(made(middle)))
        low = middle;
      else
        high = middle - 1;
    }
    return made(low);
  };
  constexpr std::int64_t kRatios = 64, kRanks = 64;
  switch (knob_of(p)) {
    case Knob::budget:
      return largest(1, prompt + steps + 1, [&](std::int64_t n) { return with_tokens(p, n); });
    case Knob::ratio:
      return largest(1, kRatios, [&](std::int64_t n) {
        return with_ratio(p, static_cast<double>(kRatios) / static_cast<double>(n));
      });
    case Knob::rank:
      return largest(1, kRanks, [&](std::int64_t n) {
        return with_rank(p, static_cast<double>(n) / static_cast<double>(kRanks));
      });
    case Knob::bits: {
      // The wider side of a policy stays the wider one: keys and values step down in turn.
      const bool keys_first = p.quantize->key_bits < p.quantize->value_bits;
      constexpr std::array<double, 6> kWidths{16, 8, 4, 3, 2, 1.5};
      for (std::size_t i = 0; i < kWidths.size(); ++i) {
        if (const TokenPolicies both = with_bits(p, kWidths[i], kWidths[i]); fits(both))
          return both;
        if (i + 1 == kWidths.size() || p.quantize->key_bits == p.quantize->value_bits) continue;
        const double less = kWidths[i + 1], more = kWidths[i];
        const TokenPolicies mixed =
            keys_first ? with_bits(p, less, more) : with_bits(p, more, less);
        if (fits(mixed)) return mixed;
      }
      return std::nullopt;
    }
    case Knob::none:
      return std::nullopt;
  }
  return std::nullopt;
}

}  // namespace kvsim::quality
