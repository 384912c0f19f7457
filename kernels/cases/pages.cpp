// Summaries of pages and their scores: two operations of one shape.
#include <numeric>

#include "kernels/cases/plain_case.h"
#include "kernels/scores.h"

namespace kvsim::kernels {
namespace {

struct PagesShape {
  std::int32_t context = 1024;
  Element element = Element::f16;
  KeyOrder key_order = KeyOrder::dim_major;
  int q_heads = 32;
  int kv_heads = 8;
  int k_dim = 128;
  int page_tokens = 16;
  static constexpr Rows kFields{
      field("context", &PagesShape::context, between(1, 4'000'000), "tokens in the cache"),
      field("element", &PagesShape::element, any, "how the cache stores a number"),
      field("key_order", &PagesShape::key_order, any, "order of a tile of keys"),
      field("q_heads", &PagesShape::q_heads, between(1, 4096), "query heads"),
      field("kv_heads", &PagesShape::kv_heads, between(1, 1024), "heads of the cache"),
      field("k_dim", &PagesShape::k_dim, between(16, 1024), "numbers of a key"),
      field("page_tokens", &PagesShape::page_tokens, between(16, 1024), "tokens of a page")};
  [[nodiscard]] std::size_t pages() const {
    return static_cast<std::size_t>((context + page_tokens - 1) / page_tokens);
  }
  [[nodiscard]] std::size_t summary_numbers() const {
    return static_cast<std::size_t>(kv_heads) * 2 * static_cast<std::size_t>(k_dim);
  }
};

std::vector<Tree> page_shapes(Operation::Purpose purpose, const Rng& rng, std::size_t count) {
  const auto odd = [](Rng& r) {
    PagesShape p;
    p.context = pick(r, {1, 15, 16, 17, 100, 333});
    p.element = enum_names(Element{})[r.below(6)].first;
    p.key_order = pick(r, {KeyOrder::dim_major, KeyOrder::chunk_major});
    p.kv_heads = pick(r, {1, 2, 3});
    p.q_heads = p.kv_heads * pick(r, {1, 3, 4});
    p.k_dim = pick(r, {64, 128, 192});
    p.page_tokens = pick(r, {16, 32, 64});
    return p;
  };
  return shapes_of<PagesShape>(purpose, rng, count, odd, {PagesShape{4096}, PagesShape{32768}});
}

class PageSummariesCase final : public PlainCase<float> {
 public:
  using Params = PagesShape;
  PageSummariesCase(Params p, const Context& c)
      : p_(p), inputs_(inputs(p, c), Rng(c.seed, "keys")) {
    // Pages of all copies lie in one cache, so all share one output.
    const std::size_t numbers = inputs_.cache().pages.size() / inputs_.cache().format.page_bytes();
    set_output(numbers * p.summary_numbers(), 1, 2 * static_cast<std::size_t>(p.k_dim), 1e-6);
  }
  [[nodiscard]] std::int64_t copies() const override { return inputs_.copies(); }
  [[nodiscard]] std::vector<Tree> shapes(Purpose purpose, Rng rng,
                                         std::size_t count) const override {
    return page_shapes(purpose, rng, count);
  }
  [[nodiscard]] Traffic traffic() const override {
    return {p_.k_dim * bits_of(p_.element) / 8.0 * p_.kv_heads * p_.context,
            4.0 * static_cast<double>(p_.pages() * p_.summary_numbers()), 0};
  }

 private:
  static KvInputsShape inputs(const Params& p, const Context& c) {
    return {.format = {p.element, p.kv_heads, p.k_dim, 16, p.page_tokens, p.page_tokens,
                       p.key_order, false},
            .lengths = {p.context},
            .footprint = c.footprint};
  }
  void call(std::int64_t copy, const Where& where) override {
    const PageSummaries a{inputs_.cache(), inputs_.table(copy), out_[0]};
    where.run(a, cpu::summarize_pages, reference::summarize_pages);
  }

  Params p_;
  KvInputs inputs_;
};

class PageScoresCase final : public PlainCase<float> {
 public:
  using Params = PagesShape;
  PageScoresCase(Params p, const Context& c) : p_(p) {
    if (p.q_heads % p.kv_heads != 0 || p.k_dim % 16 != 0)
      throw InputError("q_heads must be a multiple of kv_heads, and k_dim of 16");
    const std::size_t n = p.pages() * p.summary_numbers();
    const std::int64_t copies = copies_within(c.footprint, n * 4);
    summaries_ = Copies<float>(n, copies);
    Rng rng(c.seed, "page-scores");
    draw_normals(rng, summaries_[0]);
    summaries_.repeat_first(copies);
    q_.resize(static_cast<std::size_t>(p.q_heads) * static_cast<std::size_t>(p.k_dim));
    draw_normals(rng, q_);
    pages_.resize(p.pages());
    std::iota(pages_.rbegin(), pages_.rend(), 0);
    lengths_ = {p.context};
    set_output(static_cast<std::size_t>(p.q_heads) * p.pages(), copies, p.pages());
  }
  [[nodiscard]] std::vector<Tree> shapes(Purpose purpose, Rng rng,
                                         std::size_t count) const override {
    return page_shapes(purpose, rng, count);
  }
  [[nodiscard]] Traffic traffic() const override {
    const auto pages = static_cast<double>(p_.pages());
    return {4 * pages * static_cast<double>(p_.summary_numbers()), 4 * pages * p_.q_heads,
            4 * pages * p_.q_heads * p_.k_dim};
  }

 private:
  void call(std::int64_t copy, const Where& where) override {
    const BlockTable table{pages_, static_cast<std::int32_t>(pages_.size()), lengths_};
    const PageScores a{table,          p_.q_heads,       p_.kv_heads, p_.k_dim,
                       p_.page_tokens, summaries_[copy], q_,          out_[copy]};
    where.run(a, cpu::score_pages, reference::score_pages);
  }

  Params p_;
  Copies<float> summaries_;
  std::vector<float> q_;
  std::vector<std::int32_t> pages_, lengths_;
};

const Register<PageSummariesCase> kSummaries{
    "page-summaries", "smallest and largest key per page and channel", "arXiv:2406.10774 (Quest)"};
const Register<PageScoresCase> kScores{"page-scores",
                                       "sum over channels of max(q * minimum, q * maximum)",
                                       "arXiv:2406.10774 (Quest)"};

}  // namespace
}  // namespace kvsim::kernels
