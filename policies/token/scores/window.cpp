// The last queries vote. Neighbours of a peak survive with it when votes are pooled. With a window
// of one, and following the queries of every step, it is TOVA's memoryless score.
#include <algorithm>
#include <deque>

#include "policies/token/scores/rows.h"

namespace kvsim::token {
namespace {

using kernels::Combine;

class WindowAttention final : public TokenScore {
 public:
  struct Params {
    std::int64_t window = 32, pool_width = 1;
    Combine pool = Combine::max, heads = Combine::mean;
    bool follow = false;
    static constexpr Rows kFields{
        field("window", &Params::window, between<std::int64_t>(1, 1 << 16), "queries that vote"),
        field("pool_width", &Params::pool_width, between<std::int64_t>(1, 1023),
              "neighbours whose votes are combined; an even number counts as the next odd one"),
        field("pool", &Params::pool, any, "how"),
        field("heads", &Params::heads, any, "combination over the query heads of a KV head"),
        field("follow", &Params::follow, any, "queries of decode steps replace the oldest")};
  };
  WindowAttention(Params p, const Context& c) : p_(p), threads_(c.threads) {}

  [[nodiscard]] Needs needs() const override {
    Needs n;
    n.prompt_queries = p_.window;
    n.attention = true;
    n.steps = p_.follow;
    n.state_bytes = p_.follow ? 4.0 * static_cast<double>(p_.window) : 0;
    n.step_flops = p_.follow ? static_cast<double>(p_.window) : 0;
    return n;
  }
  void observe(const HeadRows& rows) override {
    for (std::int32_t q = 0; q < rows.queries; ++q) {
      for (auto& row : rows_) row.resize(static_cast<std::size_t>(rows.slots), 0.0F);
      rows_.push_back(combined_row(rows, q, p_.heads, *threads_));
      if (static_cast<std::int64_t>(rows_.size()) > p_.window) rows_.pop_front();
    }
  }
  void score(const HeadTokens& tokens, std::span<float> out) override {
    std::fill(out.begin(), out.end(), 0.0F);
    for (const auto& row : rows_)
      for (std::size_t t = 0; t < std::min(out.size(), row.size()); ++t) out[t] += row[t];
    if (p_.pool_width == 1) return;
    // The window's attention to itself says nothing about the tokens before it.
    const auto voters = std::min<std::size_t>(out.size(), static_cast<std::size_t>(p_.window));
    std::vector<float> votes(out.begin(), out.end());
    std::fill(votes.end() - static_cast<std::ptrdiff_t>(voters), votes.end(), 0.0F);
    kernels::ScoreReduction r;
    r.queries = r.q_heads = r.kv_heads = 1;
    r.columns = tokens.slots;
    r.pool = p_.pool;
    r.pool_width = static_cast<int>(p_.pool_width | 1);
    r.in = votes;
    r.out = out;
    kernels::cpu::reduce_scores(r, *threads_);
  }
  void keep(std::span<const std::int32_t> slots) override {
    for (auto& row : rows_) keep_slots(row, slots);
  }

 private:
  Params p_;
  kernels::Threads* threads_;
  std::deque<std::vector<float>> rows_;
};

const Register<WindowAttention> kSelf{"window-attention", "attention of the last queries, pooled",
                                      "Li et al., SnapKV, arXiv:2404.14469"};

}  // namespace
}  // namespace kvsim::token
