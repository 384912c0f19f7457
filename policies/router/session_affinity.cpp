// A session stays where its first request went, as long as that instance is up; sessions and
// requests without one go to the fewest requests in flight.
#include <unordered_map>

#include "policies/router/router.h"

namespace kvsim {
namespace {

class SessionAffinity final : public Router {
 public:
  struct Params {
    double most = 0;
    static constexpr Rows kFields{field(
        "most", &Params::most, between(0.0, 1e6),
        "a session leaves an instance that has more than this many times the mean of requests "
        "in flight; 0 = never")};
  };
  SessionAffinity(Params p, const Context&) : params_(p) {}
  std::size_t pick(const RoutedRequest& r, std::span<const InstanceView> instances,
                   std::span<double> scores) override {
    if (r.session == 0) return least_requests(instances, scores);
    const auto at = home_.find(r.session);
    if (at != home_.end() && stays(at->second, instances)) return at->second;
    const std::size_t i = least_requests(instances, scores);
    home_[r.session] = i;
    return i;
  }

 private:
  [[nodiscard]] bool stays(std::size_t i, std::span<const InstanceView> instances) const {
    if (!instances[i].up) return false;
    if (params_.most == 0) return true;
    double sum = 0, up = 0;
    for (const InstanceView& v : instances) {
      if (!v.up) continue;
      sum += static_cast<double>(v.in_flight);
      ++up;
    }
    // One more than the mean is never too much.
    return static_cast<double>(instances[i].in_flight) <= 1 + params_.most * sum / up;
  }

  Params params_;
  std::unordered_map<std::uint64_t, std::size_t> home_;  // looked up, never walked
};

const Register<SessionAffinity> kSelf{"session-affinity",
                                      "a session stays where its first request went",
                                      "vLLM production-stack, session routing; SGLang routing key"};

}  // namespace
}  // namespace kvsim
