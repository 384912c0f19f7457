// The instance with the least work in flight; ties go to the first.
#include <array>

#include "policies/router/router.h"

namespace kvsim {
namespace {

enum class Load { requests, tokens };
constexpr auto enum_names(Load) {
  return std::array{std::pair{Load::requests, "requests"}, std::pair{Load::tokens, "tokens"}};
}

class LeastLoaded final : public Router {
 public:
  struct Params {
    Load by = Load::requests;
    static constexpr Rows kFields{
        field("by", &Params::by, any,
              "what counts as load: requests in flight, or their prompt and output tokens (known "
              "beforehand, as no real router does)")};
  };
  LeastLoaded(Params p, const Context&) : params_(p) {}
  std::size_t pick(const RoutedRequest&, std::span<const InstanceView> instances,
                   std::span<double> scores) override {
    if (params_.by == Load::requests) return least_requests(instances, scores);
    return least(instances, scores, [&](std::size_t i) { return instances[i].in_flight_tokens; });
  }

 private:
  Params params_;
};

const Register<LeastLoaded> kSelf{"least-loaded", "the instance with the least work in flight",
                                  "textbook"};

}  // namespace
}  // namespace kvsim
