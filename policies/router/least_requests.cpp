// The instance with the fewest requests in flight (nginx least_conn); among equals each in turn.
#include "policies/router/router.h"

namespace kvsim {
namespace {

class LeastRequests final : public Router {
 public:
  struct Params {
    static constexpr Rows<> kFields{};
  };
  LeastRequests(Params, const Context&) {}
  std::size_t pick(const RoutedRequest&, std::span<const InstanceView> instances,
                   std::span<double> scores) override {
    const std::size_t n = instances.size();
    std::size_t best = kNoInstance;
    for (std::size_t k = 0; k < n; ++k) {
      const std::size_t i = next_ + k < n ? next_ + k : next_ + k - n;
      if (!instances[i].up) continue;
      if (!scores.empty()) scores[i] = static_cast<double>(instances[i].in_flight);
      if (best == kNoInstance || instances[i].in_flight < instances[best].in_flight) best = i;
    }
    next_ = best + 1 < n ? best + 1 : 0;
    return best;
  }

 private:
  std::size_t next_ = 0;
};

const Register<LeastRequests> kSelf{"least-requests",
                                    "the fewest requests in flight, among equals each in turn",
                                    "nginx, ngx_http_upstream_least_conn_module"};

}  // namespace
}  // namespace kvsim
