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
  std::size_t pick(const RoutedRequest& r, std::span<const InstanceView> instances,
                   std::span<double> scores) override {
    up_.clear();
    for (std::size_t i = 0; i < instances.size(); ++i)
      if (instances[i].up) up_.push_back(i);
    Rng draw = random_.at(r.index);  // by request, so that another order of asking changes nothing
    const std::size_t a = draw.below(up_.size());
    if (up_.size() == 1) return up_[a];
    std::size_t b = draw.below(up_.size() - 1);
    if (b >= a) ++b;
    for (const std::size_t i : {up_[a], up_[b]})
      if (!scores.empty()) scores[i] = static_cast<double>(instances[i].in_flight);
    return instances[up_[b]].in_flight < instances[up_[a]].in_flight ? up_[b] : up_[a];
  }

 private:
  Rng random_;
  std::vector<std::size_t> up_;
};

const Register<PowerOfTwo> kSelf{"power-of-two", "the less loaded of two instances drawn at random",
                                 "Mitzenmacher 2001, doi:10.1109/71.963420"};

}  // namespace
}  // namespace kvsim
