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
    std::int64_t least = std::numeric_limits<std::int64_t>::max();
    for (std::size_t k = 0; k < n; ++k) {
      const std::size_t i = next_ + k < n ? next_ + k : next_ + k - n;
      const InstanceView& v = instances[i];
      if (!scores.empty() && v.up) scores[i] = static_cast<double>(v.in_flight);
      if (v.in_flight < least && v.up) best = i, least = v.in_flight;
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
