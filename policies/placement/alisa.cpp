// ALISA: sparse window attention over tokens that lie in three phases. Of n tokens a step attends
// to r n, half the newest and half those that recent steps attended to most, wherever they are.
//
//   I    all on the GPU, while it has room for them
//   II   the oldest in host memory; those of them that the step attends to come over the link
//   III  from `third` generated tokens on a share of the oldest is given up instead, and computed
//        again whenever the step attends to it
//
// Tokens attended to for their sums are taken to be spread evenly over all but the newest r n / 2.
// With g on the GPU, f of the older ones off it, a share b of these given up:
//
//   fetched     (1 - b) r n / 2 * f        recomputed     b r n / 2 * f
//   f = (n - g) / (n - r n / 2), g = min(n, room)
//
// When the third phase begins and how much is given up is what makes the modelled time of the
// expected output least, by search (the paper's offline step), within the room of host memory.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>

#include "policies/placement/placement.h"

namespace kvsim {
namespace {

enum class Again : std::uint8_t { forward, projections, never };
constexpr auto enum_names(Again) {
  return std::array{std::pair{Again::forward, "forward"},
                    std::pair{Again::projections, "projections"}, std::pair{Again::never, "never"}};
}

class Alisa final : public TokenPlacement {
 public:
  struct Params {
    Ratio keep{0.2};
    bool int8 = true, overlap = true;
    Again recompute = Again::forward;
    std::int64_t output = 512;
    std::optional<std::int64_t> third;
    std::optional<Ratio> given_up;
    static constexpr Rows kFields{
        field("keep", &Params::keep, between(Ratio{0.01}, Ratio{1.0}),
              "share of the tokens that a step attends to (80 % sparsity in the paper)"),
        field("int8", &Params::int8, any,
              "tokens in host memory have 8 bits a number, packed and unpacked on the GPU"),
        field("overlap", &Params::overlap, any,
              "what a layer needs is fetched while the layer before computes"),
        field("recompute", &Params::recompute, any,
              "what a token given up costs when it is attended to: forward = the whole model, as "
              "nothing of it is left; projections = keys and values alone, as if the layers' "
              "inputs were at hand for nothing; never = nothing is given up"),
        field("output", &Params::output, between<std::int64_t>(1, 1 << 24),
              "tokens of the outputs that the phases are chosen for"),
        field("third", &Params::third, between<std::int64_t>(0, 1 << 24),
              "generated tokens after which the third phase begins; default: by search"),
        field("given_up", &Params::given_up, between(Ratio{0}, Ratio{1}),
              "share of the tokens off the GPU that it gives up; default: by search")};
  };
  Alisa(Params p, const Context& c) : params_(std::move(p)), context_(c) {}

  [[nodiscard]] bool places() const override { return true; }
  PlacedTokens at(std::int64_t prompt, std::int64_t generated) override {
    return at(prompt, generated, plan_of(prompt));
  }
  std::vector<std::int64_t> bends(std::int64_t prompt) override {
    const Plan& plan = plan_of(prompt);
    const std::int64_t second = std::max<std::int64_t>(0, context_.room - prompt);
    std::vector<std::int64_t> all;
    for (const std::int64_t start : {second, plan.given_up > 0 ? plan.third : second})
      for (std::int64_t step = 0; step <= params_.output; step = step == 0 ? 8 : step * 2)
        all.push_back(start + step);
    std::sort(all.begin(), all.end());
    all.erase(std::unique(all.begin(), all.end()), all.end());
    std::erase(all, 0);
    return all;
  }
  [[nodiscard]] double host_share() const override { return params_.int8 ? 0.5 : 1; }
  [[nodiscard]] double recompute_ns() const override {
    return params_.recompute == Again::projections ? context_.project : context_.forward;
  }
  [[nodiscard]] bool overlaps() const override { return params_.overlap; }
  std::string describe(std::int64_t prompt) override {
    const Plan& p = plan_of(prompt);
    const std::int64_t second = std::max<std::int64_t>(0, context_.room - prompt);
    std::string text = fmt::format("all on the GPU for {} tokens of output", second);
    if (p.given_up > 0)
      text += fmt::format(", of those off it {:.0f} % given up from token {} on", p.given_up * 100,
                          p.third + 1);
    return text;
  }

 private:
  struct Plan {
    std::int64_t third = 0;
    double given_up = 0;
  };

  [[nodiscard]] PlacedTokens at(std::int64_t prompt, std::int64_t generated, const Plan& p) const {
    const auto n = static_cast<double>(prompt + generated);
    const double gpu = std::min(n, static_cast<double>(context_.room)), off = n - gpu;
    const double half = params_.keep.value * n / 2;
    const double again = generated >= p.third ? p.given_up : 0;
    PlacedTokens t;
    t.gpu = gpu;
    t.host = off * (1 - again);
    t.read = 2 * half + 1;
    if (off <= 0) return t;
    const double needed = std::min(off, half * off / (n - half));
    t.fetched = needed * (1 - again);
    t.recomputed = needed * again;
    t.stored = 1;
    return t;
  }
  [[nodiscard]] double time(const PlacedTokens& t) const {
    const double packed = params_.int8 ? t.fetched + t.stored : 0;
    const double computing = context_.step + t.read * (context_.attend + 2 * context_.pass) +
                             t.recomputed * recompute_ns() + packed * context_.pass;
    const double link = (t.fetched + t.stored) * context_.link * host_share();
    return params_.overlap ? std::max(computing, link) : computing + link;
  }
  // Of the expected output; none: host memory is too small. Steps are sampled.
  [[nodiscard]] std::optional<double> total(std::int64_t prompt, const Plan& p) const {
    constexpr std::int64_t kSamples = 64;
    const std::int64_t stride = std::max<std::int64_t>(1, params_.output / kSamples);
    double sum = 0;
    for (std::int64_t g = 0; g < params_.output; g += stride) {
      const PlacedTokens t = at(prompt, g, p);
      if (t.host * host_share() > static_cast<double>(context_.host_room)) return std::nullopt;
      sum += time(t);
    }
    return sum;
  }
  const Plan& plan_of(std::int64_t prompt) {
    const auto [at, fresh] = plans_.try_emplace(prompt);
    if (fresh) at->second = search(prompt);
    return at->second;
  }
  // The earliest switch and the least share of those that are equal.
  [[nodiscard]] Plan search(std::int64_t prompt) const {
    constexpr std::int64_t kParts = 32;
    const bool may = params_.recompute != Again::never;
    std::optional<double> least;
    Plan best;
    const std::int64_t shares = may && !params_.given_up ? kParts : 0;
    for (std::int64_t share = 0; share <= shares; ++share) {
      const bool some = may && (share > 0 || params_.given_up) && !params_.third;
      for (std::int64_t start = 0; start < (some ? kParts : 1); ++start) {
        Plan p;
        p.given_up = static_cast<double>(share) / static_cast<double>(kParts);
        if (may && params_.given_up) p.given_up = params_.given_up->value;
        p.third = params_.third.value_or(params_.output * start / kParts);
        const std::optional<double> one = total(prompt, p);
        if (!one || (least && *one >= *least)) continue;
        least = one;
        best = p;
      }
    }
    if (!least)
      throw InputError(
          fmt::format("host memory has no room for what leaves the GPU of a prompt of {} tokens",
                      prompt),
          "lower engine.max_running, or let tokens be given up (recompute: forward)");
    return best;
  }

  Params params_;
  Context context_;
  std::map<std::int64_t, Plan> plans_;  // by prompt; none moves
};

const Register<Alisa> kSelf{
    "alisa", "sparse window attention; oldest tokens in host memory, later given up and recomputed",
    "Zhao et al., ALISA, ISCA 2024, arXiv:2403.17312"};

}  // namespace
}  // namespace kvsim
