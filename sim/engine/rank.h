#pragma once
// One scheduler with its KV blocks: vLLM v1's queues and rules (engine-semantics sections 3 and 4).
// A rank plans iterations and accounts for those that ran; time belongs to its StepGroup.
#include <array>
#include <boost/unordered/unordered_flat_map.hpp>
#include <deque>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "sim/engine/adapters.h"
#include "sim/engine/config.h"
#include "sim/engine/decode_group.h"
#include "sim/engine/encoder.h"
#include "sim/engine/host_copies.h"
#include "sim/engine/late_outputs.h"
#include "sim/engine/rank_memory.h"
#include "sim/engine/rank_tiers.h"
#include "sim/engine/sequence.h"
#include "sim/engine/shared_reads.h"
#include "sim/engine/snapshots.h"
#include "traces/trace_source.h"

namespace kvsim {

class Loans;  // sim/engine/loans.h
struct LendingView;

class Rank final : public RankTiers::Client,
                   public HostCopies::Client,
                   private LateOutputs::Owner,
                   private SchedulerRank {
 public:
  // Hears every request that is over. Called while the rank changes: it must not call back into the
  // rank.
  using Done = std::function<void(const RequestOutcome&)>;
  // Prompt blocks beyond `from` that any other rank has ever cached (to name the cause of a miss).
  using SeenElsewhere = std::function<std::int64_t(std::span<const ContentChunk>, std::int64_t from,
                                                   std::int64_t most)>;

  Rank(const EngineConfig&, std::uint32_t instance, std::uint32_t rank, Done, SeenElsewhere,
       DurationHistogram& itl, const StepEstimator&);
  // Hears of first tokens, under the same condition. Before the first request.
  void on_first_token(Done hear) { first_token_ = std::move(hear); }
  // Other instances, as a rank sees them. Calls come while the rank changes: they must not call
  // back into it.
  class Peers {
   public:
    // The sequence left the batch; its KV stays until release_handed().
    virtual void handed(Rank&, std::uint32_t slot, Time) = 0;
    // KV of `tokens` of a source's is to come; ends with pulled().
    virtual void pull(Rank&, std::uint32_t slot, std::uint32_t source, std::int64_t tokens,
                      Time) = 0;
    // Nobody waits for the source any more; what was on its way stops.
    virtual void drop(std::uint32_t source, Time) = 0;
    // What was on its way stops; the source may be asked again.
    virtual void stop(std::uint32_t source, Time) = 0;
    // The KV of a handed sequence is lost.
    virtual void lost(Rank&, std::uint32_t slot, Time) = 0;
    // The first `tokens` of a prompt have KV since an iteration that began at `start`
    // (EngineConfig::pushes).
    virtual void computed(Rank&, std::uint32_t slot, std::int64_t tokens, Time start, Time end) = 0;
    // The sequence left the batch for a tool; tool_returned() is due after `pause`.
    virtual void called(Rank&, std::uint32_t slot, Duration pause, Time) = 0;

   protected:
    ~Peers() = default;
  };
  void attach_peers(Peers& peers) { peers_ = &peers; }
  // Whether what is published late can be told from what is published in time (rank_outputs.cpp).
  [[nodiscard]] static bool can_be_late(const EngineConfig&);
  // Outputs may be published late, by all ranks that share content. Before the first request.
  void attach_late(LateOutputs& late) { late_outputs_ = &late; }
  // Everything is published that would be by now.
  void catch_up();
  [[nodiscard]] const Sequence& sequence(std::uint32_t slot) const { return sequences_[slot]; }
  void release_handed(std::uint32_t slot, Time now);
  // The KV of a sequence's source has come, or never will.
  void pulled(std::uint32_t slot, bool good);
  void tool_returned(std::uint32_t slot, Time now);
  // The sequence that decodes with the least KV, if one may move.
  [[nodiscard]] std::optional<std::uint32_t> lightest() const;
  [[nodiscard]] std::int64_t computed(std::uint32_t slot) const {
    return group_.contains(slot) ? group_.computed(slot) : sequences_[slot].computed;
  }
  // It leaves at the next boundary of iterations, if it still is the same request and decodes.
  void depart(std::uint32_t slot, std::uint64_t index, Time now) {
    departing_ = {slot, index, now};
  }
  // A request that another instance computes the prompt of: once there is room for its KV, blocks
  // are taken for it and the source is asked. Gives its slot.
  std::uint32_t expect(const Request&, std::uint32_t source, Time now);
  // Its prompt is computed; the KV that was on its way still may be.
  void arrive(std::uint32_t slot, const Sequence& from);
  // It will not come.
  void dismiss(std::uint32_t slot, Time now);
  // KV may also come from and go to tiers below the GPU. Before the first request.
  void attach(const OffloadConfig&, std::vector<RankTiers::Level>, Transfers&);
  // KV of admitted requests may move to host memory and back. Before the first request.
  void attach_host(const TransferPath& in, const TransferPath& out, Transfers&);

  // Images of prompts are encoded here (EngineConfig::encoder). Before the first request.
  void attach_images(const ImageTable& images) {
    if (config_.encoder != nullptr)
      encoder_ = std::make_unique<PromptEncoder>(*config_.encoder, images);
  }

  // Its sequences may have KV on other instances. Before the first request.
  void attach_loans(Loans& loans) { loans_ = &loans; }
  [[nodiscard]] Loans* loans() { return loans_; }
  void look(LendingView&) const;
  // Blocks of the running request with the most of them move to `creditor`; gives how many.
  std::int64_t move_out(std::int64_t blocks, std::uint32_t creditor);

  // Why admission control refuses a request now, a static text; null: it may be enqueued.
  [[nodiscard]] const char* refuse(const Request&, Time now);
  // Accepts a request; its TTFT intervals so far (front end) are given by visible -
  // request.arrival.
  void enqueue(const Request&, Time visible, Promise = {});
  // Decides the next iteration at `now`; `ahead` = an iteration is running whose samples are not
  // known yet.
  void plan(Plan& out, Time now, bool ahead);
  // The planned iteration ran over [start, end) = gpu + host + stall.
  struct Spent {
    std::int64_t gpu_ns = 0, host_ns = 0, stall_ns = 0;
    std::int64_t mapping_ns = 0;  // of host_ns: pages were mapped
  };
  void account(const Plan&, Time start, Time end, Spent);
  // The same for a rank that had no part in the group's iteration.
  void close_lost(Time end);
  // Batches in flight (rank_pipeline.cpp): one that was planned begins, and one is over, of whose
  // time no other batch has covered `covered_ns`.
  void take_off(Plan&);
  // Nobody is in flight and nobody could be planned; false: that was not for lack of blocks.
  bool break_deadlock(Time now);
  void account_flight(const Plan&, Time start, Time end, Spent, std::int64_t covered_ns);

  // Fast-forward: how many further iterations can be planned that equal the last one in kind; at
  // most `most`.
  [[nodiscard]] std::int64_t plain_iterations(std::int64_t most);
  // n such iterations were planned and as many ran (the oldest planned ones), spanning gpu_ns and
  // host_ns.
  void plan_plain(std::int64_t n);
  // What the memory was used for while one of them ran.
  void observe(const KvOccupancy& o, std::int64_t ns) { totals_.kv.add(o, ns); }
  KvUse& kv_use() { return totals_.kv; }
  void account_plain(std::int64_t n, std::int64_t decodes, std::int64_t gpu_ns,
                     std::int64_t host_ns);
  void account_drafting(std::int64_t ns) { totals_.speculation.draft_ns += ns; }
  void account_adapters(std::int64_t n, const Plan& p) {
    if (adapters_) totals_.adapters.step_ns += n * p.adapter_ns;
  }
  // n iterations of this shape ran.
  void account_shared(std::int64_t n, const StepShape& s) {
    if (!shared_reads_) return;
    totals_.shared.shared_tokens += n * s.decode_shared_sum;
    totals_.shared.read_tokens += n * s.decode_shared_read;
  }

  // The state that its iterations read and write.
  [[nodiscard]] std::span<const std::byte> hot() const {
    return {reinterpret_cast<const std::byte*>(this),
            static_cast<std::size_t>(reinterpret_cast<const std::byte*>(&memory_) -
                                     reinterpret_cast<const std::byte*>(this))};
  }
  [[nodiscard]] bool has_work() const { return !running_.empty() || waiting() > 0; }
  [[nodiscard]] std::int64_t running() const override {
    return static_cast<std::int64_t>(running_.size());
  }
  [[nodiscard]] std::int64_t waiting() const {
    return static_cast<std::int64_t>(waiting_.size() + skipped_.size() + swapped_.size());
  }
  // Requests set aside until KV from below has come.
  [[nodiscard]] bool waits_for_tiers() const {
    return !skipped_.empty() || (loans_ != nullptr && waiting() > 0) || skipping_ > 0 ||
           handed_ > 0 || looks_again_ || (host_ && host_->moving());
  }
  // When one of them may have an answer although no transfer ends.
  [[nodiscard]] Time next_answer(Time now) const {
    return skipped_.empty() || !tiers_ ? kNever : tiers_->next_answer(now);
  }
  [[nodiscard]] bool loading(std::uint32_t slot) const {
    const Sequence& s = sequences_[slot];
    return s.pulling || s.rest == Sequence::Rest::coming || (tiers_ && tiers_->loading(slot));
  }
  [[nodiscard]] bool copying(std::uint64_t copy) const { return tiers_ && tiers_->copying(copy); }
  [[nodiscard]] RankTiers* tiers() { return tiers_.get(); }
  // Copies of the iterations; null without host memory.
  [[nodiscard]] HostCopies* host() { return host_.get(); }
  void load_ended(std::uint32_t slot, std::int64_t blocks, Time at) override;
  void copy_ended(std::uint32_t slot, bool in, Time at) override;
  // Tokens of in-batch loads that failed since the last call: the iteration computes them itself.
  [[nodiscard]] std::int64_t take_failed_tokens() { return std::exchange(failed_tokens_, 0); }
  [[nodiscard]] std::int64_t used_blocks() const { return pool_.total() - pool_.free(); }
  // Planned iterations counted as if they had run.
  [[nodiscard]] KvOccupancy occupancy() const;
  [[nodiscard]] const KvPool& pool() const { return pool_; }
  KvPool& pool() { return pool_; }
  [[nodiscard]] const DecodeGroup& decodes() const { return group_; }
  [[nodiscard]] const RankTotals& totals() const { return totals_; }
  [[nodiscard]] const Snapshots* snapshots() const { return snapshots_.get(); }
  // Forgets what is cached; a rank that holds blocks refuses.
  void reset_cache();
  // Prompt blocks beyond the first `from` that were here at some time, whether others may use them
  // or not.
  [[nodiscard]] std::int64_t seen_blocks(std::span<const ContentChunk>, std::int64_t from,
                                         std::int64_t most) const;
  // Totals of compressed KV, of requests that have left.
  [[nodiscard]] KvFormTotals form_totals() const;
  [[nodiscard]] const EngineConfig& config() const { return config_; }
  // The GPU is lost: every request leaves with what was generated, nothing else; the cache is
  // empty. No iteration may be planned or running. Gives the cached blocks that were lost.
  std::int64_t evacuate(Time now, std::vector<Sequence>& out);
  // Requests that wait and for which nothing was done yet leave.
  void withdraw(Time now, std::vector<Sequence>& out);
  // A request from another rank's evacuate() or withdraw().
  std::uint32_t accept(Sequence&&, Time now);  // gives its slot
  // Aborts unless every list, count and reference agrees. O(everything).
  void check_invariants();

 private:
  [[nodiscard]] bool can_plan_fast();
  std::int64_t plan_running_fast(Plan&);
  std::int64_t plan_running_exact(Plan&, Time now, bool ahead);
  // Other orders (rank_batch.cpp).
  void plan_either(Plan&, Time now, bool ahead);
  void plan_decodes_first(Plan&, Time now, bool ahead);
  std::int64_t plan_pieces(Plan&, std::int64_t budget);
  std::int64_t plan_decodes(Plan&, Time now, bool ahead);
  std::int64_t walk_decodes(Plan&, Time now, bool ahead);
  void hold_decodes(Plan&);
  void starve(std::uint32_t slot);
  void feed(std::uint32_t slot, Plan&);
  void put_left_out_first(const Plan&);
  // Batches in flight (rank_pipeline.cpp).
  [[nodiscard]] bool is_flying(std::uint32_t slot) const {
    return slot < flying_.size() && flying_[slot];
  }
  void set_flying(std::uint32_t slot, bool yes);
  void land(const Plan&);
  [[nodiscard]] std::uint32_t last_running() const;
  // Speculative decoding (rank_speculation.cpp): tokens that a decode computes next, and booking
  // them.
  [[nodiscard]] std::int64_t decode_tokens(std::uint32_t slot) const;
  [[nodiscard]] std::int64_t decode_need(std::uint32_t slot, std::int64_t tokens) const {
    const Sequence& s = sequences_[slot];
    const std::int64_t computed = group_.computed(slot);
    return blocks_at(s, computed + tokens) - blocks_at(s, computed);
  }
  // Adapters (rank_adapters.cpp).
  [[nodiscard]] bool has_adapter_slot(std::uint32_t slot);
  void leave_adapter(const Sequence& s) {
    if (adapters_) adapters_->leave(s.adapter);
  }
  void plan_adapters(Plan&);
  void book_drafts(std::uint32_t slot, std::int64_t tokens);
  [[nodiscard]] std::int64_t due_blocks() const;
  void verify_drafts(Plan&);
  static void restart_shorter(Sequence&);
  // All known tokens of a request must fit when it is admitted, not only its first piece.
  [[nodiscard]] bool admits_whole() const {
    return config_.full_sequence_admission || config_.batch.reserve != BatchReserve::none;
  }
  // Blocks that must be free beside those that decodes take.
  [[nodiscard]] std::int64_t spare_blocks() const {
    return config_.batch.needs_free_block && group_.size() > 0 ? 1 : 0;
  }
  [[nodiscard]] bool promises() const {
    return config_.batch.reserve == BatchReserve::output ||
           config_.batch.reserve == BatchReserve::estimate;
  }
  [[nodiscard]] std::int64_t output_left(const Sequence&, std::int64_t sampled) const;
  [[nodiscard]] std::int64_t promised_blocks(const Plan&) const;
  [[nodiscard]] double estimate() const;
  void learn_estimate();
  void plan_waiting(Plan&, Time now, std::int64_t budget, bool ahead);
  bool admit_next(Plan&, Time now, std::int64_t& budget, bool ahead);
  [[nodiscard]] bool is_others_turn(std::uint32_t slot, bool swapped, const Plan&) const;
  [[nodiscard]] bool awaits_other_turn(const Plan&);
  void admit_loaded_behind(Plan&, Time now, std::int64_t budget);
  void finish_plan(Plan&);
  enum class Verdict : std::uint8_t { stop, aside, in };
  Verdict admit(std::uint32_t slot, Plan&, Time now, std::int64_t& budget, bool ahead);
  Verdict admit_new(std::uint32_t slot, Plan&, Time now, std::int64_t& budget);
  std::optional<Verdict> admit_from_peer(std::uint32_t slot, Time now);
  void drop_source(Sequence&, Time now);
  void hand_over(std::uint32_t slot, Time at);
  void keep_handed(std::uint32_t slot);
  void depart_now(Time now);
  bool plan_departure(Time now, bool ahead);
  // KV outside the batch (rank_rest.cpp), and the tools that are waited for (rank_tools.cpp).
  void call_tool(std::uint32_t slot, Time at);
  [[nodiscard]] PauseFate fate_of(std::uint32_t slot, const ToolCall&);
  void rest(std::uint32_t slot);
  bool send_to_host(std::uint32_t slot, std::int64_t part, Time now);
  void make_ready(std::uint32_t slot, Time now);
  void leave_gpu(std::uint32_t slot);
  void end_rest(Sequence&, std::uint32_t slot);
  void drop_rest(std::uint32_t slot);
  bool reclaim_rest(std::int64_t lack);
  [[nodiscard]] bool is_fetching() const;
  [[nodiscard]] std::int64_t fetch_lack(std::uint32_t slot, std::int64_t kept, KvPool::Hit&);
  bool bring_back(std::uint32_t slot, Time now, std::int64_t kept);
  Verdict admit_from_host(std::uint32_t slot, Time now);
  [[nodiscard]] std::optional<Duration> host_copy(std::int64_t tokens) const override;
  Verdict admit_loaded(std::uint32_t slot, Plan&, Time now, std::int64_t& budget);
  void join(std::uint32_t slot, std::int64_t tokens, Plan&, Time now);
  bool cut_to_budget(std::int64_t& tokens, std::int64_t budget) const;
  [[nodiscard]] std::int64_t watermark() const;
  Verdict blocked(Sequence&, Time now);
  Verdict set_aside(Sequence&, TierKind, Time now);
  void end_waits(Sequence&, Time now);
  void begin_load(std::uint32_t slot, const RankTiers::Prompt&, std::int64_t front, Plan&);
  // Hybrid memory (rank_hybrid.cpp). What is found of a sequence: `blocks` from its start, of which
  // the pool gives the hit; its blocks go further by those that nothing can be taken up from.
  struct Found {
    KvPool::Hit hit;
    std::int64_t blocks = 0, useless = 0;
  };
  void record_admission(Sequence&, const Found&, const RankTiers::Match&, const RankTiers::Prompt*);
  [[nodiscard]] Found find(std::span<const ContentChunk>, std::int64_t most);
  std::int64_t want_snapshots(Sequence&, const Found&, std::int64_t from) const;
  [[nodiscard]] std::int64_t until_snapshot(const Sequence&, std::int64_t from) const;
  void save_snapshots(const Sequence&, std::int64_t from, std::int64_t to, Time now);
  void save_output_snapshot(const Sequence&, Time now);
  // Order (rank_order.cpp).
  struct Next {
    std::deque<std::uint32_t>* queue = nullptr;  // null: nobody may be admitted
    std::size_t at = 0;
  };
  struct Candidate {
    Standing standing;
    std::uint32_t slot = 0;
    std::deque<std::uint32_t>* queue = nullptr;  // null: it was taken out
  };
  [[nodiscard]] bool is_moving() const { return traits_.queue == Scheduler::Traits::Queue::moving; }
  // Those swapped out come by standing among the others.
  [[nodiscard]] bool merges_swapped() const { return traits_.preempts && !config_.memory.parks; }
  [[nodiscard]] bool nobody_waits() const {
    return waiting_.empty() && skipped_.empty() && (!merges_swapped() || swapped_.empty());
  }
  [[nodiscard]] SchedulerRequest request_of(std::uint32_t slot) const;
  [[nodiscard]] std::int64_t hit_tokens(std::uint32_t slot) override;
  [[nodiscard]] Room room_of(std::uint32_t slot) const override;
  [[nodiscard]] std::int64_t free_blocks() const override;
  void make_deciders();
  void wait_first(std::uint32_t slot, Time now);
  void tell_tokens(std::uint32_t slot);
  void tell_all_tokens();
  void collect_candidates(Time now);
  void take_candidate(std::uint32_t slot, Time now);
  [[nodiscard]] Next next_waiting();
  [[nodiscard]] bool goes_before(const Standing& a, std::uint32_t x, const Standing& b,
                                 std::uint32_t y) const;
  [[nodiscard]] bool goes_before(std::uint32_t a, std::uint32_t b) const {
    return goes_before(sequences_[a].standing, a, sequences_[b].standing, b);
  }
  void make_way(Plan&, Time now, bool ahead);
  // What running requests hold and take part with in the next iteration.
  struct Use {
    std::int64_t requests = 0, blocks = 0, due = 0, tokens = 0;
  };
  [[nodiscard]] Use use_of(std::uint32_t slot);
  [[nodiscard]] std::optional<std::int64_t> needs(std::uint32_t head, const Use& others);
  [[nodiscard]] bool has_way(std::uint32_t head, const Use& others, std::int64_t free) {
    const std::optional<std::int64_t> blocks = needs(head, others);
    return blocks && *blocks <= free;
  }
  // Preempted requests that keep their KV until it must go (rank_paused.cpp).
  [[nodiscard]] bool can_pause(std::uint32_t slot) const;
  void pause(std::uint32_t slot, Time now);
  void hold_running(Plan&, Time now, bool ahead);
  void collect_turns(Time now);
  // All of its KV or the end of it is in host memory.
  [[nodiscard]] static bool is_away(const Sequence& s) {
    return s.rest == Sequence::Rest::host || (s.rest == Sequence::Rest::gpu && s.host_room > 0);
  }
  [[nodiscard]] bool resumes(std::uint32_t slot) const;
  [[nodiscard]] Next next_present();
  [[nodiscard]] std::int64_t paused_blocks(std::uint32_t but) const;
  bool take_from_paused(std::int64_t lack, Time now, std::optional<std::uint32_t> but);
  void shrink_hold(std::uint32_t slot, std::int64_t blocks);
  void cut_tail(std::uint32_t slot, std::int64_t blocks);
  [[nodiscard]] std::int64_t part_of(std::uint32_t slot, std::int64_t lack) const;
  [[nodiscard]] std::int64_t leaving_blocks() const;
  bool give_way(std::uint32_t slot, std::int64_t lack, Time now);
  void fetch_for_turn(std::uint32_t head, Time now);
  void send_ahead(std::int64_t lack, Time now);
  void pause_for(std::uint32_t head, Use staying, const Use& leaving, Plan&, Time now, bool ahead);
  void move_paused(Time now);
  [[nodiscard]] RankTiers::Prompt prompt_of(std::uint32_t slot, std::int64_t tokens,
                                            std::int64_t local, Time now) const;
  void offer(std::uint32_t slot, std::int64_t tokens, Time now);
  void look_ahead(Time now);
  void schedule_prefill(std::uint32_t slot, std::int64_t tokens, Plan&, bool admitted = false);
  std::int64_t prefill_left(std::uint32_t slot);
  std::int64_t cap_prefill(std::int64_t tokens, std::int64_t budget) const;
  std::int64_t piece_of(std::uint32_t slot, std::int64_t planned, std::int64_t free);
  // Of the blocks of so many tokens, those that are not here: layers in host memory, or lent by
  // other instances.
  [[nodiscard]] std::int64_t away(const Sequence& s, std::int64_t computed) const {
    if (loans_ != nullptr) return borrowed(s, computed);
    return s.host_layers == 0 ? 0
                              : std::min(s.host_room, config_.blocks_for(computed) * s.host_layers /
                                                          config_.memory.layers);
  }
  // KV on other instances (rank_loans.cpp).
  [[nodiscard]] std::int64_t borrowed(const Sequence& s, std::int64_t computed) const;
  [[nodiscard]] std::int64_t movable(std::uint32_t slot) const;
  [[nodiscard]] std::optional<std::uint32_t> most_movable() const;
  bool borrow_for(std::uint32_t slot, std::int64_t lack);
  void lend_decodes(Plan&);
  void lend_prompts(Plan&);
  // Blocks that the KV of so many of its tokens takes.
  [[nodiscard]] std::int64_t kv_blocks(const Sequence& s, std::int64_t computed) const {
    return s.curve == nullptr ? config_.blocks_for(computed) : form_blocks(s, computed);
  }
  // Blocks that a sequence holds having computed so many tokens.
  [[nodiscard]] std::int64_t blocks_at(const Sequence& s, std::int64_t computed) const {
    return std::max(s.reserved, kv_blocks(s, computed)) - away(s, computed);
  }
  // Blocks that it must take to compute `tokens` more of those that it knows.
  [[nodiscard]] std::int64_t piece_blocks(const Sequence& s, std::int64_t tokens) const {
    return std::max<std::int64_t>(0, blocks_at(s, s.computed + tokens) - s.hold.blocks());
  }
  [[nodiscard]] std::int64_t unfilled(const Sequence& s) const {
    if (s.curve != nullptr || config_.hybrid.on) return 0;
    return (s.hold.blocks() + away(s, s.computed)) * config_.block_tokens - s.computed;
  }
  // Of an iteration that has `budget` tokens left and takes `piece` more.
  [[nodiscard]] std::int64_t activations(std::int64_t piece, std::int64_t budget) const {
    return memory_.activation_blocks(config_.max_batched_tokens - budget + piece);
  }
  // `n` shrinks to the largest piece that `holds`, where pieces may be cut. False: there is none.
  template <class Holds>
  bool shrink_to(std::int64_t& n, Holds holds) const {
    if (memory_.lends() && config_.chunked_prefill) n = largest(n, holds);
    return n > 0 && holds(n);
  }
  void grow(std::int64_t blocks, Plan&);
  void start_decoding(std::uint32_t slot);
  void give_back(std::uint32_t slot);
  enum class Kept : std::uint8_t { if_possible, nothing };  // of its KV
  void preempt(std::uint32_t slot, Plan&, Time now, bool ahead, std::int64_t extra_blocks,
               Kept = Kept::if_possible);
  // Takes it out of the batch; its KV moves to host memory, or is given up.
  enum class Fate : std::uint8_t { given_up, swapped, parked, rests };
  void leave_batch(std::uint32_t slot, Time now, bool ahead, std::int64_t extra_blocks, Fate);
  [[nodiscard]] bool can_swap_out(std::uint32_t slot);
  void settle_layers(Time now, bool ahead);
  void move_out(Sequence&, std::int64_t there);
  bool make_host_room(std::uint32_t slot, std::int64_t blocks);
  void keep_copy(std::uint32_t slot);
  void bring_back_swapped(Plan&, Time now, std::int64_t& budget);
  bool swap_in(std::uint32_t slot, Plan&, Time now, std::int64_t& budget);
  void resume_decoding(std::uint32_t slot, Plan&, Time now);
  void account_resumed(Sequence&, Time start, Spent);
  void lose_swapped(Time now);
  bool leave_layers(Sequence&);
  bool keeps_pace(const Sequence&, Time now);
  void forget_host(std::uint32_t slot);
  void plan_layers(const Plan&);
  void enter(std::uint32_t slot, Time now);
  [[nodiscard]] bool queue_may_move() const;
  [[nodiscard]] std::uint32_t victim(Time now);
  [[nodiscard]] std::uint32_t fewest_outputs() const;
  void push(std::deque<std::uint32_t>& queue, std::uint32_t slot, bool front, Time now);
  void drop_expired(Time now);
  void sync_decoding(std::uint32_t slot);
  void publish(Sequence&, std::int64_t full);
  // Outputs whose content is known (rank_outputs.cpp).
  void publish_known_outputs(bool ahead);
  void begin_known_output(std::uint32_t slot);
  void end_known_output(std::uint32_t slot);
  void publish_output(std::uint32_t slot, std::int64_t tokens);
  void catch_up(std::uint32_t slot);
  void publish_in_time(std::uint32_t slot) override;
  [[nodiscard]] std::span<const ContentChunk> output_of(const Sequence&) const;
  // Compressed KV (rank_forms.cpp).
  [[nodiscard]] std::int64_t form_blocks(const Sequence&, std::int64_t computed) const;
  [[nodiscard]] bool shares(const Sequence&) const;
  // Nothing that a request computes serves another.
  [[nodiscard]] bool is_private() const {
    return config_.forms != nullptr && config_.forms->turn() == KvForms::Turn::own;
  }
  void turn(Sequence&);
  void choose_form(std::uint32_t slot);
  void plan_forms(Plan&);
  void explain_misses(Sequence&, std::int64_t found_blocks, std::int64_t reach,
                      const RankTiers::Match&, const RankTiers::Prompt*);

  void account_prefill(const PlannedPrefill&, Time start, Time end, Spent);
  void account_first_piece(Sequence&, Time start);
  void close_segment(Sequence&, Time at);
  void finish(std::uint32_t slot, Time at);
  void retire(std::uint32_t slot, Time now);
  IntervalTimes& intervals(Sequence& s) {
    return s.outcome.first_token == kNever ? s.outcome.ttft_ns : s.outcome.after_ns;
  }
  static void add(IntervalTimes& to, Interval kind, std::int64_t ns) {
    to[static_cast<std::size_t>(kind)] += ns;
  }
  std::uint32_t new_slot();
  std::uint32_t take_in(const Request&);

  // In the order in which an iteration without features asks for them: who only serves some feature
  // stands at the end, and the caches hold the state of more ranks.
  const EngineConfig& config_;
  DurationHistogram& itl_;
  std::unique_ptr<KvPool> owned_pool_;
  KvPool& pool_;
  std::unique_ptr<Scheduler> scheduler_;
  std::unique_ptr<Snapshots> snapshots_;
  std::unique_ptr<HostCopies> host_;
  std::unique_ptr<RankTiers> tiers_;
  std::unique_ptr<AdapterSlots> adapters_;     // null: nobody names one
  Loans* loans_ = nullptr;                     // null: instances lend no memory
  std::unique_ptr<PromptEncoder> encoder_;     // null: no images, or they are encoded elsewhere
  std::unique_ptr<SharedReads> shared_reads_;  // null: attention reads every context by itself
  Scheduler::Traits traits_;
  bool looks_again_ = false;  // KV outside the batch has moved or was given up since the last plan
                              // began
  bool slack_known_ = false;
  bool held_decodes_ = false;  // by the plan before (alternates)
  bool batch_full_ = false;    // somebody found no room, and nobody has left since (estimate)
  bool was_lost_ = false;      // its cache was lost to a fault
  bool writes_back_ = false;   // evictions from the GPU start transfers
  Time planning_{};            // instant of the present plan
  std::int64_t pieces_ = 0, longest_piece_ = 0;  // of prompts, in the present plan
  std::int64_t stranded_ = 0;                    // KvOccupancy, since the present plan
  std::int64_t given_up_ = 0;           // blocks of prompts that the present plan compresses
  std::int64_t draining_unfilled_ = 0;  // of sequences whose last token is planned
  std::int64_t known_outputs_running_ = 0, starved_ = 0, draining_ = 0;
  std::int64_t late_running_ = 0;  // of the first, those that publish late
  // What they owe: their tokens at this value of the decode group's clock.
  std::int64_t owed_clock_ = std::numeric_limits<std::int64_t>::min() / 2;
  LateOutputs* late_outputs_ = nullptr;  // null: everybody publishes in time
  std::int64_t flights_ = 0;             // of those that stay afterwards
  std::int64_t decode_steps_ = 0;        // since estimate_from_ was set
  std::uint64_t admissions_ = 0;
  struct Departing {
    std::uint32_t slot = 0;
    std::uint64_t index = 0;
    Time at{};
  };
  std::optional<Departing> departing_;
  std::vector<Sequence> sequences_;
  std::vector<std::uint32_t> free_slots_, running_, prefilling_, closing_;
  std::vector<Candidate> displaced_;  // by the present plan, for somebody who waited
  std::vector<std::uint32_t> asides_;
  std::vector<std::uint32_t> layered_;  // running, some layers in host memory; by admission
  std::deque<std::uint32_t> waiting_;
  std::deque<std::uint32_t> skipped_;   // set aside, scanned before waiting_
  std::deque<std::uint32_t> swapped_;   // KV in host memory; they come before waiting_
  std::vector<std::uint32_t> resting_;  // KV on the GPU outside the batch, oldest first
  DecodeGroup group_;
  RankTotals totals_;

  RankMemory memory_;
  Done done_, first_token_;
  SeenElsewhere seen_elsewhere_;
  const StepEstimator& steps_;
  std::unique_ptr<Admission> admission_;  // may be null
  std::unique_ptr<PausePolicy> pauses_;   // null: KV is given up; and before the first tool call
  std::vector<Candidate> candidates_;     // of the present plan, where standings move
  std::vector<SchedulerRequest> views_;
  std::vector<std::uint32_t> scratch_;
  struct Leaving {
    std::uint32_t slot = 0;
    std::int64_t blocks = 0;
  };
  std::vector<Leaving> leaving_;  // on their way to the host, of those who wait; oldest first
  std::vector<Candidate> turns_;  // all who wait, whose turn is next first
  // Blocks of each content chunk that were computed here for one request alone.
  boost::unordered_flat_map<std::uint64_t, std::int64_t> own_blocks_;
  Duration slack_{};               // for prefills of the present plan, once it is known
  std::int64_t load_reserve_ = 0;  // blocks that requests with loads under way will still need
  std::int64_t skipping_ = 0;      // running requests with a load under way
  std::int64_t failed_tokens_ = 0;
  double estimate_from_ = 0;  // BatchRules::estimate, or what a retraction taught
  Peers* peers_ = nullptr;
  std::int64_t handed_ = 0;
  std::vector<bool> flying_;  // by slot; empty where batches do not overlap
  // When the last admissions were, the next in place admissions_ % size.
  static constexpr std::uint64_t kRecent = 32;
  std::array<Time, kRecent> recent_admissions_{};
};

}  // namespace kvsim
