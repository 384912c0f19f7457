// Depth first by weight (SGLang): the waiting requests hang at the nodes of the tree of cached
// prefixes where their match ends. The tree is walked depth first, the child with the most requests
// below it first; so requests with a prefix in common follow each other.
#include <algorithm>
#include <map>
#include <vector>

#include "policies/scheduler/scheduler.h"

namespace kvsim {
namespace {

class DfsWeight final : public Scheduler {
 public:
  struct Params {
    static constexpr Rows<> kFields{};
  };
  DfsWeight(Params, const Context& c) : block_tokens_(c.block_tokens), rank_(c.rank) {}
  [[nodiscard]] Traits traits() const override {
    return {.queue = Traits::Queue::moving, .moves = true};
  }

  void prepare(std::span<const SchedulerRequest> waiting, Time) override {
    paths_.clear();
    next_ = 0;
    for (const SchedulerRequest& r : waiting) {
      if (r.slot >= turns_.size()) turns_.resize(r.slot + 1);
      const std::int64_t hit = rank_->hit_tokens(r.slot) / block_tokens_;
      std::size_t depth = 0;  // chunks of its content of which something is cached
      while (depth < r.content.size() && (depth == 0 ? 0 : r.content[depth - 1].end) < hit) ++depth;
      paths_.push_back({&r, depth});
    }
    walk(paths_, 0);
  }
  Standing standing(const SchedulerRequest& r, Time) override { return turns_[r.slot]; }

 private:
  struct Path {
    const SchedulerRequest* request;
    std::size_t depth;
  };
  // All of `at` have the same first `depth` chunks. Those whose match goes on come before those
  // that end here.
  void walk(const std::vector<Path>& at, std::size_t depth) {
    std::vector<Path> here;
    std::map<std::uint64_t, std::vector<Path>> below;
    std::vector<std::uint64_t> order;  // by first appearance in the queue
    for (const Path& p : at) {
      if (p.depth == depth) {
        here.push_back(p);
        continue;
      }
      auto& group = below[p.request->content[depth].key];
      if (group.empty()) order.push_back(p.request->content[depth].key);
      group.push_back(p);
    }
    std::stable_sort(order.begin(), order.end(), [&](std::uint64_t a, std::uint64_t b) {
      return below[a].size() > below[b].size();
    });
    for (const std::uint64_t key : order) walk(below[key], depth + 1);
    for (const Path& p : here) turns_[p.request->slot] = {next_, 0};
    if (!here.empty()) ++next_;
  }

  std::int64_t block_tokens_;
  SchedulerRank* rank_;
  std::vector<Standing> turns_;  // of the present plan, by slot
  std::vector<Path> paths_;
  std::int64_t next_ = 0;
};

const Register<DfsWeight> kSelf{"dfs-weight",
                                "along the tree of cached prefixes, the branch most wait for first",
                                "SGLang 0.5, schedule policy dfs-weight"};

}  // namespace
}  // namespace kvsim
