// All attention that a token ever got (H2O). Divided by the number of queries that could see it, it
// does not favour early tokens (ZipCache, which also samples the queries).
#include "policies/token/scores/rows.h"

namespace kvsim::token {
namespace {

class AccumulatedAttention final : public TokenScore {
 public:
  struct Params {
    bool normalised = false;
    Ratio probes{1};
    kernels::Combine heads = kernels::Combine::mean;
    static constexpr Rows kFields{
        field("normalised", &Params::normalised, any,
              "divided by the number of queries that saw the token"),
        field("probes", &Params::probes, between(Ratio{0.001}, Ratio{1}),
              "share of the prompt's queries that count: half the newest, half drawn at random"),
        field("heads", &Params::heads, any, "combination over the query heads of a KV head")};
  };
  AccumulatedAttention(Params p, const Context& c) : p_(p), rng_(c.rng), threads_(c.threads) {}

  [[nodiscard]] Needs needs() const override {
    Needs n;
    n.prompt_queries = kAllQueries;
    n.query_share = p_.probes.value;
    n.attention = true;
    n.steps = true;
    n.state_bytes = p_.normalised ? 8 : 4;
    n.step_flops = 1;
    return n;
  }
  void observe(const HeadRows& rows) override {
    const auto slots = static_cast<std::size_t>(rows.slots);
    sums_.resize(slots, 0.0F);
    seen_.resize(slots, 0.0F);
    for (std::int32_t q = 0; q < rows.queries; ++q) {
      if (!counts(rows, q)) continue;
      const std::vector<float> row = combined_row(rows, q, p_.heads, *threads_);
      for (std::size_t t = 0; t < slots; ++t) {
        sums_[t] += row[t];
        if (row[t] > 0) seen_[t] += 1;
      }
    }
  }
  void score(const HeadTokens&, std::span<float> out) override {
    for (std::size_t t = 0; t < out.size(); ++t)
      out[t] = p_.normalised ? sums_[t] / std::max(1.0F, seen_[t]) : sums_[t];
  }
  void keep(std::span<const std::int32_t> slots) override {
    keep_slots(sums_, slots);
    keep_slots(seen_, slots);
  }

 private:
  // A row of one query is a decode step's.
  [[nodiscard]] bool counts(const HeadRows& rows, std::int32_t q) const {
    if (p_.probes.value >= 1 || rows.first + q >= rows.slots - 1) return true;
    const double newest = static_cast<double>(rows.slots) * (1 - p_.probes.value / 2);
    if (static_cast<double>(rows.first + q) >= newest) return true;
    return rng_.at(static_cast<std::uint64_t>(rows.first + q)).uniform() < p_.probes.value / 2;
  }
  Params p_;
  Rng rng_;
  kernels::Threads* threads_;
  std::vector<float> sums_, seen_;
};

const Register<AccumulatedAttention> kSelf{"accumulated-attention",
                                           "sum of all attention that a token got",
                                           "Zhang et al., H2O, arXiv:2306.14048"};

}  // namespace
}  // namespace kvsim::token
