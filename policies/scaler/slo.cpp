// First tokens in time: more instances when too many come late, one less when they come much sooner
// than they must.
#include <algorithm>
#include <cmath>

#include "policies/scaler/scaler.h"

namespace kvsim {
namespace {

class Slo final : public Scaler {
 public:
  struct Params {
    std::optional<Duration> ttft;
    Ratio attainment{0.95}, step{0.25}, spare{0.3};
    static constexpr Rows kFields{
        field("ttft", &Params::ttft, any, "most time to the first token; default: slo.ttft"),
        field("attainment", &Params::attainment, between(Ratio{0}, Ratio{1}),
              "share of the first tokens that must be in time"),
        field("step", &Params::step, between(Ratio{0}, Ratio{10}),
              "when they are not: so many more instances, as a share of those there are, at least "
              "one"),
        field("spare", &Params::spare, between(Ratio{0}, Ratio{1}),
              "one instance less when 90 % of the first tokens came within this share of the "
              "time, and nobody waits")};
  };
  Slo(Params p, const Context& c) : params_(p) {
    if (!params_.ttft) params_.ttft = c.ttft;
    if (!params_.ttft)
      throw InputError("there is no objective to keep",
                       "set slo.ttft, or deployment.autoscaling.ttft");
  }
  [[nodiscard]] Traits traits() const override {
    Traits t;
    t.ttft = params_.ttft;
    return t;
  }
  std::int64_t wanted(const FleetView& v) override {
    const auto more = std::max<std::int64_t>(
        1, static_cast<std::int64_t>(
               std::ceil(params_.step.value * static_cast<double>(v.serving()))));
    if (v.first_tokens == 0) {  // nobody came, or nobody is served
      if (v.in_flight == 0) return v.serving() - 1;
      return v.serving() + (v.waiting > 0 && v.starting == 0 ? more : 0);
    }
    if (static_cast<double>(v.first_tokens - v.late) <
        params_.attainment.value * static_cast<double>(v.first_tokens))
      return v.serving() + more;
    const bool spare =
        v.waiting == 0 && to_seconds(v.ttft) <= params_.spare.value * to_seconds(*params_.ttft);
    return v.serving() - (spare ? 1 : 0);
  }

 private:
  Params params_;
};

const Register<Slo> kSelf{"slo", "more instances while first tokens come late",
                          "threshold control on SLO attainment; cf. NVIDIA Dynamo, planner"};

}  // namespace
}  // namespace kvsim
