// The instance with the fewest tokens of work that a router can know: prompts of requests in
// flight, those not yet computed counted more. Output lengths stay unknown.
#include "policies/router/router.h"

namespace kvsim {
namespace {

class LeastTokens final : public Router {
 public:
  struct Params {
    double pending = 1;
    static constexpr Rows kFields{
        field("pending", &Params::pending, between(0.0, 1e6),
              "weight of a prompt token that waits to be computed, beside 1 for each token of KV")};
  };
  LeastTokens(Params p, const Context&) : params_(p) {}
  std::size_t pick(const RoutedRequest&, std::span<const InstanceView> instances,
                   std::span<double> scores) override {
    return least(instances, scores, [&](std::size_t i) {
      return static_cast<double>(instances[i].prompt_tokens) +
             params_.pending * static_cast<double>(instances[i].pending_tokens);
    });
  }

 private:
  Params params_;
};

const Register<LeastTokens> kSelf{"least-tokens",
                                  "the fewest prompt tokens held or waiting to be computed",
                                  "SGLang router, policy by tokens in flight"};

}  // namespace
}  // namespace kvsim
