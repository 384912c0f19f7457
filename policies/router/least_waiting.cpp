// Vidur's least outstanding requests: the instance whose waiting queue is the shortest; who runs
// does not count. Ties go to the first.
#include "policies/router/router.h"

namespace kvsim {
namespace {

class LeastWaiting final : public Router {
 public:
  struct Params {
    static constexpr Rows<> kFields{};
  };
  LeastWaiting(Params, const Context&) {}
  std::size_t pick(const RoutedRequest&, std::span<const InstanceView> instances,
                   std::span<double> scores) override {
    return least(instances, scores, [&](std::size_t i) { return instances[i].waiting; });
  }
};

const Register<LeastWaiting> kSelf{"least-waiting", "the instance with the fewest waiting requests",
                                   "Vidur's LOR router, github.com/microsoft/vidur 7d47513"};

}  // namespace
}  // namespace kvsim
