// Each instance in turn, whatever its load.
#include "policies/router/router.h"

namespace kvsim {
namespace {

class RoundRobin final : public Router {
 public:
  struct Params {
    static constexpr Rows<> kFields{};
  };
  RoundRobin(Params, const Context&) {}
  std::size_t pick(const RoutedRequest&, std::span<const InstanceView> instances,
                   std::span<double>) override {
    while (!instances[next_ % instances.size()].up) ++next_;
    return next_++ % instances.size();
  }

 private:
  std::size_t next_ = 0;
};

const Register<RoundRobin> kSelf{"round-robin", "each instance in turn", "textbook"};

}  // namespace
}  // namespace kvsim
