// How often, of the last queries, a token got less than its even share of the attention.
#include <deque>

#include "policies/token/scores/rows.h"

namespace kvsim::token {
namespace {

class LowCount final : public TokenScore {
 public:
  struct Params {
    std::int64_t history = 400;
    static constexpr Rows kFields{field("history", &Params::history,
                                        between<std::int64_t>(1, 1 << 16),
                                        "last queries over which is counted")};
  };
  LowCount(Params p, const Context& c) : p_(p), threads_(c.threads) {}

  [[nodiscard]] Needs needs() const override {
    Needs n;
    n.prompt_queries = p_.history;
    n.attention = n.steps = true;
    n.state_bytes = static_cast<double>(p_.history) / 8;  // a bit a query
    n.step_flops = 2;
    return n;
  }
  void observe(const HeadRows& rows) override {
    const auto slots = static_cast<std::size_t>(rows.slots);
    for (std::int32_t q = 0; q < rows.queries; ++q) {
      for (auto& row : low_) row.resize(slots, 0);
      const auto row = combined_row(rows, q, kernels::Combine::mean, *threads_);
      const float even = 1.0F / static_cast<float>(std::min(rows.slots, rows.first + q + 1));
      std::vector<std::uint8_t> low(slots);
      for (std::size_t t = 0; t < slots; ++t) low[t] = row[t] < even ? 1 : 0;
      low_.push_back(std::move(low));
      if (static_cast<std::int64_t>(low_.size()) > p_.history) low_.pop_front();
    }
  }
  void score(const HeadTokens&, std::span<float> out) override {
    std::fill(out.begin(), out.end(), 0.0F);
    for (const auto& row : low_)
      for (std::size_t t = 0; t < std::min(out.size(), row.size()); ++t)
        out[t] -= static_cast<float>(row[t]);
  }
  void keep(std::span<const std::int32_t> slots) override {
    for (auto& row : low_) keep_slots(row, slots);
  }

 private:
  Params p_;
  kernels::Threads* threads_;
  std::deque<std::vector<std::uint8_t>> low_;
};

const Register<LowCount> kSelf{"low-count", "how seldom a token got less than its even share",
                               "Liu et al., Scissorhands, arXiv:2305.17118"};

}  // namespace
}  // namespace kvsim::token
