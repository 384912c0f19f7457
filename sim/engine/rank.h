#pragma once
// One scheduler with its KV blocks: vLLM v1's queues and rules (engine-semantics sections 3 and 4).
// A rank plans iterations and accounts for those that ran; time belongs to its StepGroup.
#include <array>
#include <deque>
#include <functional>
#include <span>
#include <vector>

#include "sim/engine/config.h"
#include "sim/engine/decode_group.h"
#include "sim/engine/sequence.h"
#include "traces/trace_source.h"

namespace kvsim {

class Rank {
 public:
  // Hears every request that is over. Called while the rank changes: it must not call back into the
  // rank.
  using Done = std::function<void(const RequestOutcome&)>;
  // Prompt blocks beyond `from` that any other rank has ever cached (to name the cause of a miss).
  using SeenElsewhere = std::function<std::int64_t(std::span<const ContentChunk>, std::int64_t from,
                                                   std::int64_t most)>;

  Rank(const EngineConfig&, std::uint32_t instance, std::uint32_t rank, Done, SeenElsewhere,
       DurationHistogram& itl);

  // Accepts a request; its TTFT intervals so far (front end) are given by visible -
  // request.arrival.
  void enqueue(const Request&, Time visible);
  // Decides the next iteration at `now`; `ahead` = an iteration is running whose samples are not
  // known yet.
  void plan(Plan& out, Time now, bool ahead);
  // The planned iteration ran over [start, end), gpu_ns + host_ns = end - start.
  void account(const Plan&, Time start, Time end, std::int64_t gpu_ns, std::int64_t host_ns);
  // The same for a rank that had no part in the group's iteration.
  void close_lost(Time end);

  // Fast-forward: how many further iterations can be planned that equal the last one in kind; at
  // most `most`.
  [[nodiscard]] std::int64_t plain_iterations(std::int64_t most);
  // n such iterations were planned and as many ran (the oldest planned ones), spanning gpu_ns and
  // host_ns.
  void plan_plain(std::int64_t n);
  void account_plain(std::int64_t n, std::int64_t decodes, std::int64_t gpu_ns,
                     std::int64_t host_ns);

  [[nodiscard]] bool has_work() const { return !running_.empty() || !waiting_.empty(); }
  [[nodiscard]] std::int64_t running() const { return static_cast<std::int64_t>(running_.size()); }
  [[nodiscard]] std::int64_t waiting() const { return static_cast<std::int64_t>(waiting_.size()); }
  [[nodiscard]] std::int64_t used_blocks() const { return pool_.total() - pool_.free(); }
  [[nodiscard]] const BlockPool& pool() const { return pool_; }
  BlockPool& pool() { return pool_; }
  [[nodiscard]] const DecodeGroup& decodes() const { return group_; }
  [[nodiscard]] const RankTotals& totals() const { return totals_; }
  [[nodiscard]] const EngineConfig& config() const { return config_; }
  // Aborts unless every list, count and reference agrees. O(everything).
  void check_invariants();

 private:
  [[nodiscard]] bool can_plan_fast() const;
  std::int64_t plan_running_fast(Plan&);
  std::int64_t plan_running_exact(Plan&, Time now, bool ahead);
  void plan_waiting(Plan&, Time now, std::int64_t budget, bool ahead);
  void finish_plan(Plan&);
  bool admit(std::uint32_t slot, Plan&, Time now, std::int64_t& budget, bool ahead);
  void schedule_prefill(std::uint32_t slot, std::int64_t tokens, Plan&);
  std::int64_t cap_prefill(std::int64_t tokens, std::int64_t budget) const;
  void preempt(std::uint32_t slot, Plan&, Time now, bool ahead, std::int64_t extra_blocks);
  [[nodiscard]] bool queue_may_move() const;
  [[nodiscard]] std::uint32_t victim() const;
  void push_waiting(std::uint32_t slot, bool front);
  void drop_expired(Time now);
  void sync_decoding(std::uint32_t slot);
  void publish_known_outputs(bool ahead);
  void explain_misses(Sequence&, std::int64_t hit_blocks);

  void account_prefill(const PlannedPrefill&, Time start, Time end, std::int64_t gpu_ns,
                       std::int64_t host_ns);
  void account_first_piece(Sequence&, Time start);
  void close_segment(Sequence&, Time at);
  void finish(std::uint32_t slot, Time at);
  void retire(std::uint32_t slot);
  std::array<std::int64_t, kIntervals>& intervals(Sequence& s) {
    return s.outcome.first_token == kNever ? s.outcome.ttft_ns : s.outcome.after_ns;
  }
  static void add(std::array<std::int64_t, kIntervals>& to, Interval kind, std::int64_t ns) {
    to[static_cast<std::size_t>(kind)] += ns;
  }
  std::uint32_t new_slot();

  const EngineConfig& config_;
  Done done_;
  SeenElsewhere seen_elsewhere_;
  DurationHistogram& itl_;
  BlockPool pool_;
  DecodeGroup group_;
  std::vector<Sequence> sequences_;
  std::vector<std::uint32_t> free_slots_, running_, prefilling_, closing_, scratch_;
  std::deque<std::uint32_t> waiting_;
  std::int64_t known_outputs_running_ = 0, starved_ = 0, draining_ = 0;
  std::uint64_t admissions_ = 0;
  RankTotals totals_;
};

}  // namespace kvsim
