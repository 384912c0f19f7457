// The instance with the least work in flight; ties go to the first.
#include <algorithm>
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
        field("by", &Params::by, any, "what counts as load: requests or tokens in flight")};
  };
  LeastLoaded(Params p, const Context&) : params_(p) {}
  std::size_t pick(const RoutedRequest&, std::span<const InstanceView> instances) override {
    const auto load = [this](const InstanceView& v) {
      return params_.by == Load::requests ? v.in_flight : v.in_flight_tokens;
    };
    const auto best =
        std::min_element(instances.begin(), instances.end(),
                         [&](const auto& a, const auto& b) { return load(a) < load(b); });
    return static_cast<std::size_t>(best - instances.begin());
  }

 private:
  Params params_;
};

const Register<LeastLoaded> kSelf{"least-loaded", "the instance with the least work in flight",
                                  "textbook"};

}  // namespace
}  // namespace kvsim
