// Consistent hashing with bounded loads: a ring of virtual nodes, on which a request walks from
// its key to the first instance that has less than (1 + slack) of the mean load. The key is the
// start of the prompt, or the session.
#include <algorithm>
#include <array>
#include <cmath>

#include "policies/router/router.h"
#include "sim/base/hash.h"

namespace kvsim {
namespace {

enum class Key { prefix, session };
constexpr auto enum_names(Key) {
  return std::array{std::pair{Key::prefix, "prefix"}, std::pair{Key::session, "session"}};
}

class ConsistentHash final : public Router {
 public:
  struct Params {
    Key by = Key::prefix;
    std::int64_t prefix_tokens = 1024;
    double slack = 0.25;
    int virtual_nodes = 100;
    static constexpr Rows kFields{
        field("by", &Params::by, any,
              "what is hashed: the first tokens of the prompt, or the session (without one: the "
              "request)"),
        field("prefix_tokens", &Params::prefix_tokens, between<std::int64_t>(1, 1 << 24),
              "of prefix: how many of them; of the trace's chunks the last that ends within"),
        field(
            "slack", &Params::slack, between(0.0, 1e6),
            "an instance takes at most (1 + slack) of the mean of requests in flight, rounded up"),
        field("virtual_nodes", &Params::virtual_nodes, between(1, 10'000),
              "places of an instance on the ring")};
  };
  ConsistentHash(Params p, const Context& c) : params_(p) {
    for (std::size_t i = 0; i < c.instances; ++i)
      for (int v = 0; v < p.virtual_nodes; ++v)
        ring_.push_back({hash_combine(mix64(i + 1), static_cast<std::uint64_t>(v)),
                         static_cast<std::uint32_t>(i)});
    std::sort(ring_.begin(), ring_.end());
  }
  [[nodiscard]] Traits traits() const override {
    Traits t;
    t.content = params_.by == Key::prefix;
    return t;
  }
  std::size_t pick(const RoutedRequest& r, std::span<const InstanceView> instances,
                   std::span<double> scores) override {
    double sum = 1, up = 0;
    for (std::size_t i = 0; i < instances.size(); ++i) {
      if (!instances[i].up) continue;
      sum += static_cast<double>(instances[i].in_flight);
      ++up;
      if (!scores.empty()) scores[i] = static_cast<double>(instances[i].in_flight);
    }
    const auto most = static_cast<std::int64_t>(std::ceil((1 + params_.slack) * sum / up));
    auto at = std::lower_bound(ring_.begin(), ring_.end(), std::pair{mix64(key_of(r)), 0U});
    for (;; ++at) {
      if (at == ring_.end()) at = ring_.begin();
      if (instances[at->second].up && instances[at->second].in_flight < most) return at->second;
    }
  }

 private:
  [[nodiscard]] std::uint64_t key_of(const RoutedRequest& r) const {
    if (params_.by == Key::session) return r.session != 0 ? r.session : mix64(~r.index);
    std::uint64_t key = r.content.empty() ? r.index : r.content.front().key;
    for (const ContentChunk& c : r.content) {
      if (c.end * r.block_tokens > params_.prefix_tokens) break;
      key = c.key;
    }
    return key;
  }

  Params params_;
  std::vector<std::pair<std::uint64_t, std::uint32_t>> ring_;
};

const Register<ConsistentHash> kSelf{"consistent-hash",
                                     "a ring of prefixes or sessions, with bounded loads",
                                     "Mirrokni, Thorup, Zadimoghaddam 2018, arXiv:1608.01350"};

}  // namespace
}  // namespace kvsim
