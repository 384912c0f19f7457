// The longest prefix by an index of the router's own: it remembers what it sent where and never
// hears what became of it. Without a good match the request goes where the index holds least; when
// loads differ too much, to the fewest requests in flight.
#include <algorithm>
#include <deque>
#include <unordered_map>

#include "policies/router/prefix_rule.h"
#include "sim/state/prefix_directory.h"

namespace kvsim {
namespace {

class PrefixApproximate final : public Router {
 public:
  struct Params {
    Ratio threshold{0.5};
    std::int64_t imbalance = 32;
    double ratio = 1.1;
    std::int64_t most_tokens = std::int64_t{1} << 24;
    static constexpr Rows kFields{
        field("threshold", &Params::threshold, between(Ratio{0}, Ratio{1}),
              "share of the prompt that a match must have"),
        field("imbalance", &Params::imbalance, between<std::int64_t>(0, 1 << 30),
              "loads differ too much when the most requests in flight exceed the fewest by more "
              "than this many"),
        field("ratio", &Params::ratio, between(1.0, 1e6), "and by more than this factor"),
        field("most_tokens", &Params::most_tokens, between<std::int64_t>(1, std::int64_t{1} << 50),
              "that the index keeps of an instance; those used longest ago leave")};
  };
  PrefixApproximate(Params p, const Context& c)
      : params_(p), index_({true, false, {}}), caches_(c.instances) {}
  [[nodiscard]] Traits traits() const override {
    Traits t;
    t.content = true;
    return t;
  }

  std::size_t pick(const RoutedRequest& r, std::span<const InstanceView> instances,
                   std::span<double> scores) override {
    const std::size_t i = choose(r, instances, scores);
    remember(r, i);
    return i;
  }

 private:
  struct Used {
    std::uint64_t use = 0;  // the last one
    std::int64_t blocks = 0;
    std::uint32_t place = KvPool::kNoPlace;  // in index_
  };
  struct Cache {
    std::unordered_map<std::uint64_t, Used> used;               // looked up
    std::deque<std::pair<std::uint64_t, std::uint64_t>> order;  // key and use; stale ones stay
    std::int64_t blocks = 0;
  };

  std::size_t choose(const RoutedRequest& r, std::span<const InstanceView> instances,
                     std::span<double> scores) {
    const std::size_t fewest = least_requests(instances, {});
    std::int64_t most = 0;
    for (const InstanceView& v : instances) most = std::max(most, v.up ? v.in_flight : 0);
    const std::int64_t low = instances[fewest].in_flight;
    if (most > low + params_.imbalance &&
        static_cast<double>(most) > params_.ratio * static_cast<double>(low))
      return least_requests(instances, scores);
    index_.match(r.content, r.prompt_tokens / r.block_tokens, matches_);
    std::size_t best = kNoInstance;
    std::int64_t blocks = 0;
    for (const PrefixDirectory::Holder& h : matches_) {
      if (!instances[h.instance].up) continue;
      if (!scores.empty()) scores[h.instance] = -static_cast<double>(h.blocks * r.block_tokens);
      if (h.blocks > blocks) best = h.instance, blocks = h.blocks;
    }
    const double share =
        static_cast<double>(blocks * r.block_tokens) / static_cast<double>(r.prompt_tokens);
    if (best != kNoInstance && share > params_.threshold.value) return best;
    return least(instances, {}, [&](std::size_t i) { return caches_[i].blocks; });
  }

  void remember(const RoutedRequest& r, std::size_t i) {
    Cache& c = caches_[i];
    std::int64_t begin = 0;
    for (const ContentChunk& chunk : r.content) {
      const std::int64_t blocks = chunk.end - begin;
      begin = chunk.end;
      if (blocks == 0) continue;
      Used& used = c.used[chunk.key];
      if (used.blocks == 0) {
        c.blocks += blocks;
        used.blocks = blocks;
        index_.changed(static_cast<std::uint32_t>(i), chunk.key, used.place, blocks, blocks);
      }
      used.use = ++uses_;
      c.order.emplace_back(chunk.key, used.use);
    }
    forget(c, i, params_.most_tokens / r.block_tokens);
  }

  void forget(Cache& c, std::size_t i, std::int64_t most) {
    while (c.blocks > most || c.order.size() > 4 * c.used.size() + 64) {
      const auto [key, use] = c.order.front();
      c.order.pop_front();
      const auto at = c.used.find(key);
      if (at == c.used.end() || at->second.use != use) continue;
      if (c.blocks <= most) {
        c.order.emplace_back(key, use);  // only the stale ones were to go
        continue;
      }
      c.blocks -= at->second.blocks;
      index_.changed(static_cast<std::uint32_t>(i), key, at->second.place, 0, 0);
      c.used.erase(at);
    }
  }

  Params params_;
  PrefixDirectory index_;
  std::vector<Cache> caches_;
  std::vector<PrefixDirectory::Holder> matches_;
  std::uint64_t uses_ = 0;
};

const Register<PrefixApproximate> kSelf{
    "prefix-approximate", "the longest prefix of what the router itself sent to each instance",
    "SGLang router, cache_aware"};

}  // namespace
}  // namespace kvsim
