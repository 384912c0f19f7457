#include "kernels/cases/plain_case.h"
#include "kernels/scores.h"

namespace kvsim::kernels {
namespace {

class ReduceScoresCase final : public PlainCase<float> {
 public:
  struct Params {
    std::int32_t queries = 32;
    int q_heads = 32;
    int kv_heads = 8;
    std::int32_t columns = 4096;
    std::int32_t window = 0;
    Combine heads = Combine::mean;
    Combine pool = Combine::max;
    int pool_width = 7;
    static constexpr Rows kFields{
        field("queries", &Params::queries, between(0, 65536), "rows of scores per head"),
        field("q_heads", &Params::q_heads, between(1, 4096), "query heads"),
        field("kv_heads", &Params::kv_heads, between(1, 1024), "kv heads, rows of the result"),
        field("columns", &Params::columns, between(1, 4'000'000), "tokens"),
        field("window", &Params::window, at_least(0), "last queries that count; 0: all"),
        field("heads", &Params::heads, any, "how the query heads of a kv head combine"),
        field("pool", &Params::pool, any, "how neighbouring tokens combine"),
        field("pool_width", &Params::pool_width, between(1, 1023), "neighbours, odd; 1: none")};
  };

  ReduceScoresCase(Params p, const Context& c) : p_(p) {
    if (p.q_heads % p.kv_heads != 0 || p.pool_width % 2 == 0)
      throw InputError("q_heads must be a multiple of kv_heads, and pool_width odd");
    const auto columns = static_cast<std::size_t>(p.columns);
    const std::size_t n = static_cast<std::size_t>(p.queries * p.q_heads) * columns;
    const std::int64_t copies = copies_within(c.footprint, n * 4);
    in_ = Copies<float>(n, copies);
    Rng rng(c.seed, "reduce-scores");
    for (float& x : in_[0]) x = static_cast<float>(rng.uniform());
    in_.repeat_first(copies);
    set_output(static_cast<std::size_t>(p.kv_heads) * columns, copies, columns, 2e-6);
  }
  [[nodiscard]] std::vector<Tree> shapes(Purpose purpose, Rng rng,
                                         std::size_t count) const override {
    const auto odd = [](Rng& r) {
      Params p;
      p.queries = pick(r, {0, 1, 2, 33});
      p.kv_heads = pick(r, {1, 2, 3});
      p.q_heads = p.kv_heads * pick(r, {1, 3, 4});
      p.columns = pick(r, {1, 3, 16, 100, 333});
      p.window = pick(r, {0, 0, 1, 16});
      p.heads = pick(r, {Combine::mean, Combine::max});
      p.pool = pick(r, {Combine::mean, Combine::max});
      p.pool_width = pick(r, {1, 3, 7, 63});
      return p;
    };
    return shapes_of<Params>(purpose, rng, count, odd, {Params{}, Params{1, 32, 8, 32768}});
  }
  [[nodiscard]] Traffic traffic() const override {
    const double rows = p_.window > 0 ? std::min(p_.window, p_.queries) : p_.queries;
    return {4 * rows * p_.q_heads * p_.columns, 4.0 * p_.kv_heads * p_.columns,
            (rows * p_.q_heads + p_.kv_heads * p_.pool_width) * p_.columns};
  }

 private:
  void call(std::int64_t copy, const Where& where) override {
    const ScoreReduction a{p_.queries, p_.q_heads,    p_.kv_heads, p_.columns, p_.window, p_.heads,
                           p_.pool,    p_.pool_width, false,       in_[copy],  out_[copy]};
    where.run(a, cpu::reduce_scores, reference::reduce_scores);
  }

  Params p_;
  Copies<float> in_;
};

const Register<ReduceScoresCase> kSelf{
    "reduce-scores", "out[g][t] = pool over neighbours of t of the sum over queries of heads",
    "arXiv:2306.14048, arXiv:2404.14469"};

}  // namespace
}  // namespace kvsim::kernels
