// Groups by common prefix (BatchLLM): all that waits is known before it runs, so requests are put
// into groups that share one prefix each, and the groups run one after another; a prefix is
// computed once and may leave when its group is through. Groups that decode much for what they
// compute go first. Where prefixes nest, a group is made where it saves the most tokens: of a node
// of the tree of waiting prompts, one group of all below it saves (requests - 1) * length, or its
// branches save what they save by themselves.
#include <algorithm>
#include <map>
#include <vector>

#include "policies/scheduler/job_size.h"

namespace kvsim {
namespace {

class PrefixGroups final : public Scheduler {
 public:
  struct Params {
    double error = 0;
    static constexpr Rows kFields{
        field("error", &Params::error, between(0.0, 10.0),
              "output lengths are believed wrong by a lognormal factor: deviation of its "
              "logarithm; 0 = known")};
  };
  PrefixGroups(Params p, const Context& c)
      : guess_(c.seed, p.error), block_tokens_(c.block_tokens) {}
  [[nodiscard]] Traits traits() const override {
    return {.queue = Traits::Queue::moving, .charges = true};
  }

  void arrived(const SchedulerRequest& r, Time) override {
    if (r.slot >= group_of_.size()) group_of_.resize(r.slot + 1);
    is_stale_ = true;
  }
  void preempted(const SchedulerRequest&, Time) override { is_stale_ = true; }
  // Somebody else waits now: the groups are made anew.
  void prepare(std::span<const SchedulerRequest> waiting, Time) override {
    if (!std::exchange(is_stale_, false)) return;
    nodes_.assign(1, {});
    std::map<std::uint64_t, std::size_t> by_key;
    for (const SchedulerRequest& r : waiting) add(r, by_key);
    for (std::size_t v = nodes_.size(); v-- > 0;) weigh(nodes_[v]);
    groups_.clear();
    for (const std::size_t v : nodes_[0].children) make_groups(v);
    for (const SchedulerRequest* r : nodes_[0].own) make_group({r}, 0);
    std::stable_sort(groups_.begin(), groups_.end(),
                     [](const Group& a, const Group& b) { return a.ratio > b.ratio; });
    for (std::size_t g = 0; g < groups_.size(); ++g)
      for (const std::uint32_t slot : groups_[g].slots)
        group_of_[slot] = static_cast<std::int64_t>(g);
    nodes_.clear();
    current_ = -1;
  }
  Standing standing(const SchedulerRequest& r, Time) override {
    const std::int64_t group = group_of_[r.slot];
    return {group == current_ ? -1 : group, 0};
  }
  void admitted(const SchedulerRequest& r, Time) override { current_ = group_of_[r.slot]; }

 private:
  struct Node {
    std::int64_t tokens = 0, requests = 0, saves = 0;
    std::vector<std::size_t> children;         // in order of first appearance, after this node
    std::vector<const SchedulerRequest*> own;  // whose prompt ends here
    bool is_group = false;
  };
  struct Group {
    double ratio = 0;
    std::vector<std::uint32_t> slots;
  };

  // Its prompt's whole chunks as a path of the tree.
  void add(const SchedulerRequest& r, std::map<std::uint64_t, std::size_t>& by_key) {
    std::size_t at = 0;
    ++nodes_[0].requests;
    for (const ContentChunk& c : r.content) {
      if (c.end * block_tokens_ > r.prompt) break;
      if (c.end * block_tokens_ == nodes_[at].tokens) continue;
      const auto [known, fresh] = by_key.try_emplace(c.key, nodes_.size());
      if (fresh) {
        nodes_[at].children.push_back(nodes_.size());
        nodes_.push_back({c.end * block_tokens_, 0, 0, {}, {}, false});
      }
      at = known->second;
      ++nodes_[at].requests;
    }
    nodes_[at].own.push_back(&r);
  }
  void weigh(Node& n) const {
    std::int64_t apart =
        std::max<std::int64_t>(0, static_cast<std::int64_t>(n.own.size()) - 1) * n.tokens;
    for (const std::size_t c : n.children) apart += nodes_[c].saves;
    const std::int64_t together = (n.requests - 1) * n.tokens;
    n.is_group = together >= apart;
    n.saves = std::max(together, apart);
  }
  void make_groups(std::size_t v) {
    const Node& n = nodes_[v];
    if (n.is_group) {
      std::vector<const SchedulerRequest*> all;
      collect(v, all);
      return make_group(all, n.tokens);
    }
    for (const std::size_t c : n.children) make_groups(c);
    if (!n.own.empty()) make_group(n.own, n.tokens);
  }
  void collect(std::size_t v, std::vector<const SchedulerRequest*>& all) const {
    all.insert(all.end(), nodes_[v].own.begin(), nodes_[v].own.end());
    for (const std::size_t c : nodes_[v].children) collect(c, all);
  }
  void make_group(const std::vector<const SchedulerRequest*>& members, std::int64_t shared) {
    Group g;
    std::int64_t prefill = shared, decode = 0;
    for (const SchedulerRequest* r : members) {
      prefill += r->known() - shared;
      decode += guess_.left(*r);
      g.slots.push_back(r->slot);
    }
    g.ratio = static_cast<double>(decode) / static_cast<double>(std::max<std::int64_t>(1, prefill));
    groups_.push_back(std::move(g));
  }

  LengthGuess guess_;
  std::int64_t block_tokens_;
  bool is_stale_ = false;
  std::vector<Node> nodes_;
  std::vector<Group> groups_;
  std::vector<std::int64_t> group_of_;  // by slot
  std::int64_t current_ = -1;           // admitted from last
};

const Register<PrefixGroups> kSelf{
    "prefix-groups", "groups that share a prefix, one after another, for work that is all known",
    "Zheng et al., BatchLLM, arXiv:2412.03594"};

}  // namespace
}  // namespace kvsim
