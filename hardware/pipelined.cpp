// pipelined: an iteration's batch is cut into micro-batches that follow each other through the
// stages of a pipeline (GPipe, arXiv:1811.06965; Megatron-LM, arXiv:2104.04473). A stage has an
// even share of the layers, so a micro-batch takes t_i / p on each of p stages, and together they
// take
//
//   T = sum t_i / p + (p - 1) max t_i / p
//
// of which a stage works sum t_i / p; the rest is the bubble, (p - 1) / (m + p - 1) of T where all
// m are alike. More micro-batches shrink it, but each reads the weights again. Prompts are cut in
// tokens: a piece may follow the one before it through the stages (chunked pipeline parallelism,
// Mooncake, arXiv:2407.00079). Prices of micro-batches are those of `roofline`, which by itself
// sends the whole batch from stage to stage: m = 1.
#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "hardware/cost_model.h"
#include "hardware/decode_line.h"

namespace kvsim {
namespace {

double d(std::int64_t v) { return static_cast<double>(v); }

class Pipelined final : public CostModel {
 public:
  struct Params {
    int micro_batches = 0;
    static constexpr Rows kFields{
        field("micro_batches", &Params::micro_batches, between(0, 64),
              "parts that a batch is cut into; 0 = up to as many as stages, whatever is fastest")};
  };

  Pipelined(const Params& p, const Context& c)
      : inner_(Registry::instance().make<CostModel>("roofline", Tree::map(), c)),
        stages_(c.parallel.pipeline),
        fixed_(p.micro_batches) {
    if (stages_ < 2)
      throw InputError("cost model pipelined needs several stages",
                       "set deployment.parallel.pipeline: 2 or more, or cost.model: roofline");
  }

  Duration mixed_step(const StepShape& s) override {
    if (s.prefills.empty()) return decode_line(s).at(s);
    return from_ns_ceil(best(s).total);
  }

  // The cut depends on the number of decodes only, so that a price is a line in their contexts.
  DecodeLine decode_line(const StepShape& s) override {
    const std::int64_t m = decode_cut(s);
    const StepShape part = share(s, m);
    const DecodeLine line = inner_->decode_line(part);
    const double times = (d(m) + d(stages_) - 1) / d(stages_);
    const double unit = times / static_cast<double>(std::int64_t{1} << line.shift);
    const double of_context = s.decodes > 0 ? d(part.decodes) / d(s.decodes) : 0;
    RealLine r;
    r.base = d(line.base) * unit;
    r.per_context = d(line.per_context) * unit * of_context;
    r.per_max = d(line.per_max) * unit;
    for (std::size_t i = 0; i < kMaxWindows; ++i)
      r.per_window[i] = d(line.per_window[i]) * unit * of_context;
    return to_integers(r, s, line.iterations);
  }

  // What a stage works by operator, and what it waits.
  std::vector<Part> explain(const StepShape& s) override {
    const std::int64_t m = s.prefills.empty() ? decode_cut(s) : best(s).parts;
    std::vector<Part> all;
    double longest = 0;
    const std::vector<Micro> micros =
        s.prefills.empty() ? std::vector<Micro>(static_cast<std::size_t>(m), {share(s, m), {}})
                           : cut(s, m);
    for (const Micro& micro : micros) {
      StepShape shape = micro.shape;
      shape.prefills = micro.pieces;
      double sum = 0;
      for (const Part& p : inner_->explain(shape)) {
        sum += p.ns;
        const auto at =
            std::find_if(all.begin(), all.end(), [&](const Part& q) { return q.name == p.name; });
        if (at == all.end())
          all.push_back({p.name, p.ns / d(stages_)});
        else
          at->ns += p.ns / d(stages_);
      }
      longest = std::max(longest, sum);
    }
    all.push_back({"bubble", longest * (d(stages_) - 1) / d(stages_)});
    return all;
  }

 private:
  struct Micro {
    StepShape shape;  // its pieces are `pieces`
    std::vector<PrefillPiece> pieces;
  };
  struct Plan {
    std::int64_t parts = 1;
    double total = 0;  // ns
  };

  // The largest of m equal parts of the decodes.
  static StepShape share(const StepShape& s, std::int64_t m) {
    StepShape part = s;
    part.prefills = {};
    part.decodes = (s.decodes + m - 1) / m;
    part.padded_decodes = std::max(part.decodes, (s.padded_decodes + m - 1) / m);
    const auto of = [&](std::int64_t sum) {
      return s.decodes == 0 ? 0 : std::llround(d(sum) * d(part.decodes) / d(s.decodes));
    };
    part.decode_context_sum = of(s.decode_context_sum);
    for (std::size_t i = 0; i < kMaxWindows; ++i)
      part.decode_window_sum[i] = of(s.decode_window_sum[i]);
    return part;
  }

  // m parts: decodes dealt evenly, prompts cut into runs of as many tokens.
  static std::vector<Micro> cut(const StepShape& s, std::int64_t m) {
    std::vector<Micro> all(static_cast<std::size_t>(m));
    const std::int64_t tokens = s.prefill_tokens();
    std::int64_t given = 0, decodes = 0, context = 0;
    std::array<std::int64_t, kMaxWindows> windows{};
    std::size_t piece = 0;
    std::int64_t used = 0;  // tokens of that piece
    for (std::int64_t i = 0; i < m; ++i) {
      Micro& micro = all[static_cast<std::size_t>(i)];
      const auto upto = [&](std::int64_t whole) { return whole * (i + 1) / m; };
      micro.shape = s;
      micro.shape.prefills = {};
      micro.shape.decodes = upto(s.decodes) - std::exchange(decodes, upto(s.decodes));
      micro.shape.padded_decodes = micro.shape.decodes;
      micro.shape.decode_context_sum =
          upto(s.decode_context_sum) - std::exchange(context, upto(s.decode_context_sum));
      for (std::size_t w = 0; w < kMaxWindows; ++w)
        micro.shape.decode_window_sum[w] =
            upto(s.decode_window_sum[w]) - std::exchange(windows[w], upto(s.decode_window_sum[w]));
      if (micro.shape.decodes == 0) micro.shape.decode_context_sum = 0;
      for (; given < upto(tokens);) {
        const PrefillPiece& p = s.prefills[piece];
        const std::int64_t n = std::min(upto(tokens) - given, p.tokens - used);
        micro.pieces.push_back({n, p.history + used, p.samples && used + n == p.tokens});
        given += n;
        used += n;
        if (used == p.tokens) ++piece, used = 0;
      }
    }
    return all;
  }

  double total_of(const StepShape& s, std::int64_t m) {
    double sum = 0, longest = 0;
    for (const Micro& micro : cut(s, m)) {
      StepShape shape = micro.shape;
      shape.prefills = micro.pieces;
      if (shape.tokens() == 0) continue;
      const auto ns = static_cast<double>(to_ns(inner_->mixed_step(shape)));
      sum += ns;
      longest = std::max(longest, ns);
    }
    return (sum + longest * (d(stages_) - 1)) / d(stages_);
  }

  Plan best(const StepShape& s) {
    Plan plan{fixed_, 0};
    if (fixed_ > 0) {
      plan.total = total_of(s, fixed_);
      return plan;
    }
    for (std::int64_t m = 1; m <= stages_; ++m)
      if (const double t = total_of(s, m); m == 1 || t < plan.total) plan = {m, t};
    return plan;
  }

  // At contexts of 4,096 tokens, remembered by the number of decodes.
  std::int64_t decode_cut(const StepShape& s) {
    if (fixed_ > 0) return std::max<std::int64_t>(1, std::min<std::int64_t>(fixed_, s.decodes));
    const auto i = static_cast<std::size_t>(s.decodes);
    if (i >= cuts_.size()) cuts_.resize(i + 1, 0);
    if (cuts_[i] > 0) return cuts_[i];
    StepShape far = s;
    far.decode_context_sum = 4096 * s.decodes;
    far.decode_context_max = 4096;
    double least = 0;
    for (std::int64_t m = 1;
         m <= std::min<std::int64_t>(stages_, std::max<std::int64_t>(1, s.decodes)); ++m) {
      const StepShape part = share(far, m);
      const double t =
          static_cast<double>(to_ns(inner_->decode_line(part).at(part))) * (d(m) + d(stages_) - 1);
      if (cuts_[i] == 0 || t < least) least = t, cuts_[i] = m;
    }
    return cuts_[i];
  }

  std::unique_ptr<CostModel> inner_;
  std::int64_t stages_, fixed_;
  std::vector<std::int64_t> cuts_;  // by number of decodes; 0 = not known
};

const Register<Pipelined> kSelf{
    "pipelined", "roofline; a batch goes through pipeline stages in micro-batches, bubbles counted",
    "GPipe (arXiv:1811.06965), chunked pipeline parallelism of Mooncake (arXiv:2407.00079)"};

}  // namespace
}  // namespace kvsim
