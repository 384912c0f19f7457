// The greedy manager of Infinite-LLM: instances whose batch cannot grow for lack of memory are
// debtors, the smallest batch first; who has memory to spare are creditors, the emptiest first. Of
// the longest request of a debtor as many blocks go to a creditor as raise the tokens per second of
// the two the most, while that raises them at all. (Here sizes are tried by doubling, and requests
// that wait count as many blocks as they have in the mean.)
#include <algorithm>

#include "policies/lending/lending.h"

namespace kvsim {
namespace {

class Greedy final : public LendingPolicy {
 public:
  struct Params {
    Ratio gain{0.01};
    static constexpr Rows kFields{
        field("gain", &Params::gain, between(Ratio{0}, Ratio{10}),
              "a loan must raise the tokens per second of the two instances by this share")};
  };
  Greedy(Params p, const Context& c) : params_(p), context_(c) {}

  void plan(std::span<const LendingView> given, const LendingPrices& prices,
            std::vector<Loan>& out) override {
    views_.assign(given.begin(), given.end());
    const auto debtors = sorted(
        [](const LendingView& v) {
          return v.waiting > 0 && v.lent == 0 && v.movable > 0 && v.running < v.most_running;
        },
        [](const LendingView& v) { return static_cast<double>(v.running); });
    for (const std::size_t d : debtors) {
      const auto creditors =
          sorted([](const LendingView& v) { return v.spare > 0; },
                 [](const LendingView& v) {
                   return static_cast<double>(v.blocks - v.free) / static_cast<double>(v.blocks);
                 });
      for (const std::size_t c : creditors) {
        if (c == d || views_[d].waiting == 0 || views_[d].movable == 0) continue;
        const std::int64_t blocks = best(d, c, prices);
        if (blocks == 0) break;
        out.push_back({d, c, blocks});
        lend(d, c, blocks);
      }
    }
  }

 private:
  template <class Holds, class Key>
  [[nodiscard]] std::vector<std::size_t> sorted(Holds holds, Key key) const {
    std::vector<std::size_t> all;
    for (std::size_t i = 0; i < views_.size(); ++i)
      if (holds(views_[i])) all.push_back(i);
    std::stable_sort(all.begin(), all.end(),
                     [&](std::size_t a, std::size_t b) { return key(views_[a]) < key(views_[b]); });
    return all;
  }
  // Of the requests that wait at d, those that come in when so many of its blocks become free.
  [[nodiscard]] std::int64_t admitted(const LendingView& d, std::int64_t blocks) const {
    const std::int64_t each = std::max<std::int64_t>(1, (d.wanted + d.waiting - 1) / d.waiting);
    return std::min({d.waiting, (d.free + blocks) / each, d.most_running - d.running});
  }
  [[nodiscard]] double rate(std::size_t d, std::size_t c, std::int64_t blocks,
                            const LendingPrices& prices) const {
    const LendingView &debtor = views_[d], &creditor = views_[c];
    const std::int64_t more = admitted(debtor, blocks), bt = context_.block_tokens;
    const std::int64_t running = debtor.running + more;
    const std::int64_t context = debtor.context + more * (debtor.wanted / debtor.waiting) * bt;
    double sum = 0;
    if (running > 0)
      sum += static_cast<double>(running) /
             prices.debtor(d, c, running, context, (debtor.borrowed + blocks) * bt);
    if (creditor.running > 0)
      sum += static_cast<double>(creditor.running) /
             prices.creditor(c, creditor.running, creditor.context, (creditor.lent + blocks) * bt);
    return sum;
  }
  // Blocks that are worth the most, tried by doubling; 0: none are.
  [[nodiscard]] std::int64_t best(std::size_t d, std::size_t c, const LendingPrices& prices) const {
    const std::int64_t most = std::min(views_[d].movable, views_[c].spare);
    std::int64_t chosen = 0;
    double highest = rate(d, c, 0, prices) * (1 + params_.gain.value);
    for (std::int64_t n = std::min(most, context_.chunk_blocks); n > 0;
         n = n == most ? 0 : std::min(most, 2 * n)) {
      const double r = rate(d, c, n, prices);
      if (r <= highest) continue;
      highest = r;
      chosen = n;
    }
    return chosen;
  }
  void lend(std::size_t d, std::size_t c, std::int64_t blocks) {
    LendingView &debtor = views_[d], &creditor = views_[c];
    const std::int64_t more = admitted(debtor, blocks);
    const std::int64_t each = debtor.wanted / debtor.waiting;
    debtor.context += more * each * context_.block_tokens;
    debtor.free += blocks - more * each;
    debtor.running += more;
    debtor.waiting -= more;
    debtor.wanted -= more * each;
    debtor.movable -= blocks;
    debtor.borrowed += blocks;
    debtor.spare = 0;
    creditor.free -= blocks;
    creditor.spare -= blocks;
    creditor.lent += blocks;
  }

  Params params_;
  Context context_;
  std::vector<LendingView> views_;
};

const Register<Greedy> kSelf{
    "greedy",
    "the longest request of who cannot admit more goes to who has memory, while both gain",
    "Lin et al., Infinite-LLM, 2024, arXiv:2401.02669"};

}  // namespace
}  // namespace kvsim
