// batch-points: an iteration from two measured curves, as Splitwise's simulator prices it: prompts
// by the tokens of the batch, decodes by its sequences; where both are in one iteration, all its
// tokens as if they were prompts, and a tenth more.
#include <fmt/format.h>

#include <cmath>

#include "hardware/cost_model.h"
#include "hardware/decode_line.h"
#include "hardware/interpolation.h"

namespace kvsim {

namespace {

class BatchPoints final : public CostModel {
 public:
  // Default: Llama-2-70B on a DGX-H100, medians of the published profile (prompts one at a time,
  // decodes behind prompts of 512 tokens).
  struct Params {
    std::vector<double> prompt_tokens{512, 1024, 2048, 4096, 8192};
    std::vector<double> prompt_ms{54, 78, 137, 390, 845};
    std::vector<double> batch{1, 2, 4, 8, 16, 32, 64};
    std::vector<double> batch_ms{30.3, 30.3, 31.8, 32.5, 34.2, 38.6, 50.2};
    double mixed = 1.1;
    static constexpr Rows kFields{
        field("prompt_tokens", &Params::prompt_tokens, between(1.0, 1e8),
              "tokens of iterations of prompts, ascending"),
        field("prompt_ms", &Params::prompt_ms, between(0.0, 1e8), "what they took"),
        field("batch", &Params::batch, between(1.0, 1e6),
              "sequences of iterations of decodes, ascending"),
        field("batch_ms", &Params::batch_ms, between(0.0, 1e8), "what they took"),
        field("mixed", &Params::mixed, between(1.0, 10.0),
              "factor on iterations of both, all of whose tokens count as prompts")};
  };

  BatchPoints(const Params& p, const Context&) : mixed_(p.mixed) {
    fill("prompt_tokens", "prompt_ms", p.prompt_tokens, p.prompt_ms, prompts_);
    fill("batch", "batch_ms", p.batch, p.batch_ms, decodes_);
  }

  Duration mixed_step(const StepShape& given) override {
    StepShape s = given;
    const std::vector<PrefillPiece> pieces = without_decodes(s);
    s.prefills = pieces;
    if (pieces.empty()) return decode_line(s).at(s);
    const double ms = prompts_.at(static_cast<double>(s.tokens())) * (s.decodes > 0 ? mixed_ : 1);
    return Duration{static_cast<std::int64_t>(std::ceil(ms * 1e6))};
  }
  DecodeLine decode_line(const StepShape& s) override {
    RealLine r;
    r.base = decodes_.at(static_cast<double>(s.decodes)) * 1e6;
    return to_integers(r, s, std::int64_t{1} << 20);
  }
  std::vector<Part> explain(const StepShape& s) override {
    const Duration all = s.prefills.empty() ? decode_line(s).at(s) : mixed_step(s);
    return {{s.prefills.empty() ? "decodes"
             : s.decodes > 0    ? "prompts and decodes"
                                : "prompts",
             static_cast<double>(to_ns(all))}};
  }

 private:
  static void fill(const char* x_key, const char* y_key, const std::vector<double>& x,
                   const std::vector<double>& y, Curve& curve) {
    if (x.empty() || x.size() != y.size())
      throw InputError(
          fmt::format("cost.{} and cost.{}: {} and {} numbers", x_key, y_key, x.size(), y.size()),
          "give a time for each point, at least one");
    for (std::size_t i = 0; i < x.size(); ++i) {
      if (i > 0 && x[i] <= x[i - 1])
        throw InputError(fmt::format("cost.{}: {} follows {}", x_key, x[i], x[i - 1]),
                         "points ascend");
      curve.slot(x[i]) = y[i];
    }
  }

  Curve prompts_, decodes_;
  double mixed_;
};

const Register<BatchPoints> kSelf{
    "batch-points", "measured times of whole batches over their tokens and sequences",
    "Patel et al., Splitwise, ISCA 2024; Mutinifni/splitwise-sim, performance model `db`"};

}  // namespace
}  // namespace kvsim
