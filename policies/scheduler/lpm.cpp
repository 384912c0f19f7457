// Longest prefix match (SGLang): who finds the most of its prompt in the prefix cache goes first,
// so that shared prefixes are used before they leave. With a long queue, in order of arrival. Of
// requests with little in the cache that share a prefix with each other, one goes ahead and
// computes it for the others.
#include <set>
#include <vector>

#include "policies/scheduler/scheduler.h"

namespace kvsim {
namespace {

class Lpm final : public Scheduler {
 public:
  struct Params {
    std::int64_t fall_back = 128;
    std::int64_t warm_below = 32, warm_shared = 32;
    Duration max_wait{};
    static constexpr Rows kFields{
        field("fall_back", &Params::fall_back, between<std::int64_t>(0, 1 << 30),
              "with more waiting than this, in order of arrival"),
        field("warm_below", &Params::warm_below, between<std::int64_t>(0, 1 << 30),
              "a request with at most so many cached tokens goes behind the others if it shares a "
              "prefix with an earlier such request; 0 = such sharing is not looked for"),
        field("warm_shared", &Params::warm_shared, between<std::int64_t>(1, 1 << 30),
              "of at least so many tokens"),
        field("max_wait", &Params::max_wait, any,
              "who waits longer since its arrival goes first, against starvation; 0 = never")};
  };
  Lpm(Params p, const Context& c) : params_(p), block_tokens_(c.block_tokens), rank_(c.rank) {}
  [[nodiscard]] Traits traits() const override {
    return {.queue = Traits::Queue::moving, .moves = true};
  }

  void prepare(std::span<const SchedulerRequest> waiting, Time now) override {
    const bool by_arrival = static_cast<std::int64_t>(waiting.size()) > params_.fall_back;
    seen_.clear();
    for (const SchedulerRequest& r : waiting) {
      if (r.slot >= turns_.size()) turns_.resize(r.slot + 1);
      Standing& t = turns_[r.slot] = {};
      if (by_arrival) continue;
      const std::int64_t hit = rank_->hit_tokens(r.slot);
      t.value = -static_cast<double>(hit);
      t.level = hit <= params_.warm_below && params_.warm_below > 0 && shares(r) ? 1 : 0;
      if (params_.max_wait > Duration{0} && now - r.arrival > params_.max_wait) t = {-1, 0};
    }
  }
  Standing standing(const SchedulerRequest& r, Time) override { return turns_[r.slot]; }

 private:
  // Whether an earlier one in the queue begins with the same tokens.
  bool shares(const SchedulerRequest& r) {
    for (const ContentChunk& c : r.content)
      if (c.end * block_tokens_ >= params_.warm_shared) return !seen_.insert(c.key).second;
    return false;
  }

  Params params_;
  std::int64_t block_tokens_;
  SchedulerRank* rank_;
  std::vector<Standing> turns_;  // of the present plan, by slot
  std::set<std::uint64_t> seen_;
};

const Register<Lpm> kSelf{"lpm", "longest prefix match first; by arrival when many wait",
                          "SGLang 0.5, schedule policy lpm; Zheng et al., 2023 (RadixAttention)"};

}  // namespace
}  // namespace kvsim
