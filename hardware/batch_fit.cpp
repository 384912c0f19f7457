// batch-fit: an iteration from a few fitted coefficients, as DistServe's simulator and its
// placement search price it. Prompts of n tokens each: a + b sum(n) + c sum(n^2); decodes: a + b
// sum(context)
// + c batch, in two branches by batch size. Neither shapes nor the device enter: the coefficients
// are those of one model, engine and tensor-parallel degree.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "hardware/cost_model.h"
#include "hardware/decode_line.h"

namespace kvsim {

namespace {

class BatchFit final : public CostModel {
 public:
  struct Params {
    std::vector<double> prefill{18.10, 0.1019, 7.12e-6}, decode{19.93, 6.27e-4, 0.0385};
    std::vector<double> decode_large{7.17, 5.80e-4, 0.1583};
    std::int64_t large_from = 95;
    std::vector<double> host{0, 0};
    double stage = 0;
    static constexpr Rows kFields{
        field("prefill", &Params::prefill, any,
              "ms; ms a token; ms a squared token, of each prompt (of a piece behind h tokens: "
              "(h + n)^2 - h^2). Default: DistServe, OPT-13B on one A100-80GB"),
        field("decode", &Params::decode, any, "ms; ms a token of context; ms a sequence"),
        field("decode_large", &Params::decode_large, any,
              "the same for batches from large_from on; empty = as decode"),
        field("large_from", &Params::large_from, between<std::int64_t>(1, 1 << 20),
              "sequences that make a large batch"),
        field(
            "host", &Params::host, any,
            "added to every iteration: ms; ms a token of context of those in it, prompts included"),
        field("stage", &Params::stage, between(0.0, 1e6),
              "ms that a pipeline stage adds to an iteration with prompts; a batch of decodes is "
              "split over the stages, which work at once")};
  };

  BatchFit(Params p, const Context& c) : p_(std::move(p)), stages_(c.parallel.pipeline) {
    check("prefill", p_.prefill, 3);
    check("decode", p_.decode, 3);
    check("host", p_.host, 2);
    if (p_.decode_large.empty()) p_.decode_large = p_.decode;
    check("decode_large", p_.decode_large, 3);
  }

  Duration mixed_step(const StepShape& given) override {
    StepShape s = given;
    const std::vector<PrefillPiece> pieces = without_decodes(s);
    s.prefills = pieces;
    if (pieces.empty()) return decode_line(s).at(s);
    return Duration{static_cast<std::int64_t>(std::ceil(prompts_ms(s) * 1e6 + beside_ms(s) * 1e6))};
  }
  DecodeLine decode_line(const StepShape& s) override {
    const std::vector<double>& d = branch(s);
    RealLine r;
    r.base = (d[0] + d[2] * static_cast<double>(s.decodes) / stages_ + p_.host[0]) * 1e6;
    // The engine counts contexts before the token that is computed.
    r.base -= p_.host[1] * static_cast<double>(s.decodes) * 1e6;
    r.per_context = (d[1] / stages_ + p_.host[1]) * 1e6;
    return to_integers(r, s, std::int64_t{1} << 20);
  }
  std::vector<Part> explain(const StepShape& given) override {
    StepShape s = given;
    const std::vector<PrefillPiece> pieces = without_decodes(s);
    s.prefills = pieces;
    std::vector<Part> parts;
    if (!s.prefills.empty()) parts.push_back({"prompts", prompts_ms(s) * 1e6});
    if (s.decodes > 0 && !s.prefills.empty()) parts.push_back({"decodes", beside_ms(s) * 1e6});
    if (s.decodes > 0 && s.prefills.empty())
      parts.push_back({"decodes", static_cast<double>(to_ns(decode_line(s).at(s)))});
    return parts;
  }

 private:
  static void check(const char* key, const std::vector<double>& v, std::size_t n) {
    if (v.size() != n ||
        std::any_of(v.begin(), v.end(), [](double x) { return !(std::abs(x) < 1e6); }))
      throw InputError(fmt::format("cost.{}: expected {} numbers, in milliseconds", key, n),
                       "kvsim show batch-fit says what each of them is");
  }
  [[nodiscard]] const std::vector<double>& branch(const StepShape& s) const {
    return s.decodes < p_.large_from ? p_.decode : p_.decode_large;
  }
  [[nodiscard]] double prompts_ms(const StepShape& s) const {
    double tokens = 0, squares = 0, context = 0;
    for (const PrefillPiece& p : s.prefills) {
      const auto n = static_cast<double>(p.tokens), h = static_cast<double>(p.history);
      tokens += n;
      squares += n * (n + 2 * h);
      context += n + h;
    }
    return std::max(0.0, p_.prefill[0] + p_.prefill[1] * tokens + p_.prefill[2] * squares) +
           p_.stage * stages_ + p_.host[0] + p_.host[1] * context;
  }
  // Decodes that ride along with prompts: what more they bring.
  [[nodiscard]] double beside_ms(const StepShape& s) const {
    const std::vector<double>& d = branch(s);
    return (d[1] + p_.host[1]) * static_cast<double>(s.decode_context_sum) +
           d[2] * static_cast<double>(s.decodes);
  }

  Params p_;
  double stages_;
};

const Register<BatchFit> kSelf{
    "batch-fit", "fitted coefficients of whole batches: sums of prompts, squares and contexts",
    "Zhong et al., DistServe, OSDI 2024; github.com/LLMServe/DistServe, simdistserve"};

}  // namespace
}  // namespace kvsim
