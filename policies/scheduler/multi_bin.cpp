// Multi-bin batching: static batches of requests of like predicted length. A batch is formed when
// nothing runs: of the bin that was the first to have a full one, else (the engine does not idle
// while work waits) of the bin of the oldest request. Nobody joins it later; it ends with its
// longest member.
#include <algorithm>
#include <vector>

#include "policies/scheduler/job_size.h"

namespace kvsim {
namespace {

class MultiBin final : public Scheduler {
 public:
  struct Params {
    std::vector<std::int64_t> edges{64, 256, 1024};
    std::int64_t batch = 0;
    double error = 0;
    static constexpr Rows kFields{
        field("edges", &Params::edges, between<std::int64_t>(1, 1 << 30),
              "output tokens at which the next bin begins, ascending; none = one bin"),
        field("batch", &Params::batch, between<std::int64_t>(0, 1 << 20),
              "most requests of a batch; 0 = engine.max_running"),
        field("error", &Params::error, between(0.0, 10.0),
              "the output length is believed wrong by a lognormal factor: deviation of its "
              "logarithm; 0 = known")};
  };
  MultiBin(Params p, const Context& c)
      : edges_(std::move(p.edges)),
        batch_(static_cast<std::size_t>(p.batch > 0 ? std::min(p.batch, c.max_running)
                                                    : c.max_running)),
        guess_(c.seed, p.error),
        rank_(c.rank) {
    if (!std::is_sorted(edges_.begin(), edges_.end()))
      throw InputError("the edges of the bins must ascend");
    bins_.resize(edges_.size() + 1);
  }
  [[nodiscard]] Traits traits() const override { return {.queue = Traits::Queue::moving}; }

  void prepare(std::span<const SchedulerRequest> waiting, Time) override {
    const bool pending = std::any_of(waiting.begin(), waiting.end(),
                                     [this](const auto& r) { return is_member(r.slot); });
    if (pending || rank_->running() > 0) return;
    for (auto& bin : bins_) bin.clear();
    order_.assign(waiting.begin(), waiting.end());
    std::sort(order_.begin(), order_.end(), [](const auto& a, const auto& b) {
      return a.arrival != b.arrival ? a.arrival < b.arrival : a.index < b.index;
    });
    std::vector<std::uint32_t>* chosen = nullptr;
    for (const SchedulerRequest& r : order_) {
      auto& bin = bins_[bin_of(r)];
      if (bin.size() < batch_) bin.push_back(r.slot);
      if (chosen == nullptr && bin.size() == batch_) chosen = &bin;
    }
    if (chosen == nullptr) chosen = &bins_[bin_of(order_.front())];
    for (const std::uint32_t slot : *chosen) set_member(slot, true);
  }
  Standing standing(const SchedulerRequest& r, Time) override {
    return is_member(r.slot) ? Standing{} : Standing::held();
  }
  void left(const SchedulerRequest& r) override { set_member(r.slot, false); }

 private:
  [[nodiscard]] std::size_t bin_of(const SchedulerRequest& r) const {
    const auto at = std::upper_bound(edges_.begin(), edges_.end(), guess_.output(r));
    return static_cast<std::size_t>(at - edges_.begin());
  }
  [[nodiscard]] bool is_member(std::uint32_t slot) const {
    return slot < member_.size() && member_[slot];
  }
  void set_member(std::uint32_t slot, bool yes) {
    if (slot >= member_.size()) member_.resize(slot + 1);
    member_[slot] = yes;
  }

  std::vector<std::int64_t> edges_;
  std::size_t batch_;
  LengthGuess guess_;
  SchedulerRank* rank_;
  std::vector<bool> member_;  // of the present batch, by slot
  std::vector<std::vector<std::uint32_t>> bins_;
  std::vector<SchedulerRequest> order_;
};

const Register<MultiBin> kSelf{"multi-bin", "static batches of requests of like predicted length",
                               "Guldogan et al., Multi-Bin Batching, 2024, arXiv:2412.04504"};

}  // namespace
}  // namespace kvsim
