#include "kernels/cases/plain_case.h"
#include "kernels/scores.h"

namespace kvsim::kernels {
namespace {

class TopKCase final : public PlainCase<std::int32_t> {
 public:
  struct Params {
    std::int32_t rows = 8;
    std::int32_t columns = 32768;
    std::int32_t k = 3277;
    int values = 0;
    static constexpr Rows kFields{
        field("rows", &Params::rows, between(1, 65536), "rows, one per kv head and sequence"),
        field("columns", &Params::columns, between(1, 4'000'000), "numbers of a row: tokens"),
        field("k", &Params::k, between(0, 4'000'000), "how many are chosen"),
        field("values", &Params::values, at_least(0), "distinct numbers (ties); 0: any number")};
  };

  TopKCase(Params p, const Context& c) : p_(p) {
    const std::size_t n = static_cast<std::size_t>(p.rows) * static_cast<std::size_t>(p.columns);
    const std::int64_t copies = copies_within(c.footprint, n * 4);
    in_ = Copies<float>(n, copies);
    Rng rng(c.seed, "top-k");
    draw_normals(rng, in_[0], 3);
    // Sums of attention weights are spread over many magnitudes.
    for (float& x : in_[0])
      x = p.values > 0 ? static_cast<float>(rng.below(static_cast<std::uint64_t>(p.values)))
                       : std::exp(x);
    in_.repeat_first(copies);
    set_output(static_cast<std::size_t>(p.rows) * static_cast<std::size_t>(p.k), copies);
  }
  [[nodiscard]] std::vector<Tree> shapes(Purpose purpose, Rng rng,
                                         std::size_t count) const override {
    const auto odd = [](Rng& r) {
      const auto columns = pick(r, {1, 2, 15, 100, 1000, 2048, 5000});
      return Params{pick(r, {1, 3, 5}), columns,
                    static_cast<std::int32_t>(r.below(static_cast<std::uint64_t>(columns) + 3)),
                    pick(r, {0, 0, 1, 2, 40})};
    };
    return shapes_of<Params>(
        purpose, rng, count, odd,
        {{8, 4096, 410}, {8, 32768, 64}, {8, 32768, 2048}, {8, 32768, 3277}, {8, 131072, 2048}});
  }
  [[nodiscard]] Traffic traffic() const override {
    return {4.0 * p_.rows * p_.columns, 4.0 * p_.rows * p_.k, 0};
  }

 private:
  void call(std::int64_t copy, const Where& where) override {
    const TopK a{p_.rows, p_.columns, p_.k, {}, in_[copy], out_[copy]};
    where.run(a, cpu::top_k, reference::top_k);
  }

  Params p_;
  Copies<float> in_;
};

const Register<TopKCase> kSelf{"top-k", "indices of the k largest numbers of each row, ascending",
                               "arXiv:2306.14048, arXiv:2404.14469"};

}  // namespace
}  // namespace kvsim::kernels
