// Two instances at random, the less loaded of them serves: nearly as good as the least of all, at
// the cost of two looks.
#include "policies/router/router.h"

namespace kvsim {
namespace {

class PowerOfTwo final : public Router {
 public:
  struct Params {
    static constexpr Rows<> kFields{};
  };
  PowerOfTwo(Params, const Context& c) : random_(c.random) {}
  std::size_t pick(const RoutedRequest& r, std::span<const InstanceView> instances) override {
    Rng draw = random_.at(r.index);  // by request, so that another order of asking changes nothing
    const std::size_t a = draw.below(instances.size());
    if (instances.size() == 1) return a;
    std::size_t b = draw.below(instances.size() - 1);
    if (b >= a) ++b;
    return instances[b].in_flight < instances[a].in_flight ? b : a;
  }

 private:
  Rng random_;
};

const Register<PowerOfTwo> kSelf{"power-of-two", "the less loaded of two instances drawn at random",
                                 "Mitzenmacher 2001, doi:10.1109/71.963420"};

}  // namespace
}  // namespace kvsim
