#pragma once
// Ranks that step together: one rank, or the data-parallel ranks of a mixture-of-experts model in
// lock-step. Owns their time: which iteration runs until when, which one is planned behind it, and
// fast-forwarding.
#include <array>
#include <memory>
#include <span>
#include <vector>

#include "hardware/cost_model.h"
#include "sim/engine/rank.h"
#include "sim/engine/step_pipeline.h"

namespace kvsim {

// Room for what a call of a step group computes and nobody asks for afterwards: groups share it.
struct StepScratch {
  std::vector<std::int64_t> dues;  // blocks that silent iterations open
  // By lane.
  std::vector<StepShape> shapes, growth;
  std::vector<DecodeLine> lines;
  // Compressed KV: loads of the iteration that is priced, and the shape that its line is of.
  std::vector<TokenLoads> loads;
  std::vector<StepShape> line_of;
};

class StepGroup {
 public:
  StepGroup(const EngineConfig&, std::vector<Rank*>, CostModel&, DurationHistogram& itl,
            StepScratch&);

  // When the running iteration ends; kNever while idle. Changes only inside the calls below.
  [[nodiscard]] Time next_end() const { return busy_ ? next_end_ : kNever; }
  [[nodiscard]] bool busy() const { return busy_; }
  // Idle, or a batch has just left a pipeline that others are still in.
  [[nodiscard]] bool wants_plan() const { return !busy_ || left_; }
  [[nodiscard]] bool has_work() const;
  // KV that the iteration needs has not come, or copies still read memory that it overwrites: no
  // end is known.
  [[nodiscard]] bool stalled() const { return stalled_; }
  // Transfers ended at `now`; when they were the last that the iteration waited for, its end is
  // known.
  void loads_ended(Time now);
  // A request of some rank waits for KV from below.
  [[nodiscard]] bool waits_for_tiers() const;
  // When such a request may have its answer although no transfer ends; kNever.
  [[nodiscard]] Time next_answer(Time now) const;
  // A request was enqueued in a rank at `now`: from now on nothing is skipped past the next end of
  // an iteration.
  void interrupt(Time now);
  // Brings the ranks' state up to `now` without changing what will happen.
  void sync(Time now);
  // now == next_end(): accounts for the iteration that ends.
  void complete(Time now);
  // Nothing more is planned; what is planned already still runs.
  void close(bool yes) { closed_ = yes; }
  // Starts and plans whatever can start; call when idle or after complete().
  void schedule(Time now);
  // Exact start of the iteration that a request arriving at an idle group begins, in 2^-24 ns.
  void begin_at(std::int64_t fraction) {
    if (!busy_) carry_ = fraction;
  }
  // Of its first lane: the rank's state, and the plans.
  [[nodiscard]] std::array<std::span<const std::byte>, 3> state() const {
    const Lane& l = lanes_.front();
    return {l.rank->hot(), std::as_bytes(std::span(l.running.get(), 1)),
            std::as_bytes(std::span(l.next.get(), 1))};
  }
  // Appends a record per rank and iteration (turns fast-forwarding off).
  void record_iterations(std::vector<IterationRecord>* to) { iterations_ = to; }

 private:
  struct Lane {
    Rank* rank;
    std::unique_ptr<Plan> running = std::make_unique<Plan>(), next = std::make_unique<Plan>();
  };
  void start(Time now);
  // Iterations that overlap (step_pipeline.cpp).
  void schedule_pipeline(Time now);
  void complete_pipeline(Time now);
  [[nodiscard]] bool loads_outstanding() const;
  [[nodiscard]] bool copies_outstanding() const;
  [[nodiscard]] bool flushes_outstanding() const;
  [[nodiscard]] std::int64_t stalled_ns() const;
  void fast_forward();
  void observe(Lane&, std::int64_t k);
  // The first n silent iterations have ended.
  void commit(std::size_t n);
  std::int64_t price(Lane&);
  std::int64_t whole(std::int64_t value, int shift);
  [[nodiscard]] std::int64_t mapping(Time now) const;
  [[nodiscard]] std::int64_t step_ns(std::int64_t gpu_ns, bool graph) const;
  [[nodiscard]] bool runs_graph() const;
  void describe_group();
  void next_shape(std::size_t lane, std::int64_t n);
  void push_silent(Time end, std::int64_t gpu_ns, std::int64_t carry);
  std::int64_t price_run(std::int64_t n, std::int64_t most, bool graph);
  void next_form(std::size_t lane, std::int64_t n);
  std::int64_t price_form(std::size_t lane, std::int64_t n);
  void commit_forms(Lane&, std::int64_t k);
  void record(const Lane&, Time start, Time end);

  const EngineConfig& config_;
  CostModel& cost_;
  DurationHistogram& itl_;
  std::vector<Lane> lanes_;
  std::unique_ptr<StagePipeline> pipeline_;  // null: one iteration after the other
  bool left_ = false;                        // a batch has left it since the last plan
  bool busy_ = false, stalled_ = false, closed_ = false;
  Time start_{}, next_end_{};
  std::int64_t gpu_ns_ = 0;    // of the running iteration
  std::int64_t carry_ = 0;     // its exact end is so many 2^-24 ns after its end
  std::int64_t step_ns_ = 0;   // it would take without waiting for loads
  std::int64_t stall_ns_ = 0;  // it waited
  // What a stalled iteration waits for: loads that it needs, copies to tiers that still read its
  // blocks, copies to and from host memory that belong to it; and when that was over, from its
  // start.
  bool loading_ = false, flushing_ = false, copying_ = false;
  std::int64_t load_ns_ = 0, flush_ns_ = 0, copy_ns_ = 0;
  std::int64_t mapping_ns_ = 0;  // of step_ns_: pages are mapped before it can run
  // silent_ of them are known: ends_[i] is the end of the i-th from now, gpus_[i] its GPU time,
  // carries_[i] its carry_ (where fractions are carried); the last entry is next_end_.
  std::vector<Time> ends_;
  std::vector<std::int64_t> gpus_, carries_;
  std::size_t silent_ = 0, done_ = 0;
  StepScratch& scratch_;
  std::vector<IterationRecord>* iterations_ = nullptr;
};

}  // namespace kvsim
