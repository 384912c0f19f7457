#pragma once
// One rank's way to the tiers below its GPU: what of a prompt is stored there, loads, writes,
// prefetches. Rules: engine-semantics sections 6 (vLLM's connectors), 10 (HiCache), 11.
//
// A prompt is looked at in chunks of `chunk_blocks` blocks from its start; a chunk is named by the
// content of its last block. Time is the planner's: a transfer starts when it is decided.
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "sim/engine/tier_config.h"
#include "sim/engine/tier_store.h"
#include "sim/engine/transfers.h"
#include "sim/state/block_pool.h"
#include "sim/state/outcome.h"

namespace kvsim {

class RankTiers final : public Transfers::Listener {
 public:
  // A tier as this rank sees it. `in`: towards the GPU (or, staged, the first tier); `out`: away.
  struct Level {
    TierStore* store = nullptr;
    TransferPath in, out;
    bool shared = false;  // other ranks use the store
  };
  // What the rank hears. Called from transfer_ended().
  class Client {
   public:
    // The load of `slot` is over; `blocks` of it are good, from the first.
    virtual void load_ended(std::uint32_t slot, std::int64_t blocks, Time at) = 0;

   protected:
    ~Client() = default;
  };
  struct Prompt {
    std::uint32_t slot = 0;
    std::span<const ContentChunk> content;
    std::int64_t blocks = 0;  // full blocks of the tokens known
    std::int64_t local = 0;   // of these, on the GPU already
    std::int64_t tokens = 0;  // known; those behind the blocks are computed anyway
    Access about;             // now, session, tenant
  };
  struct Match {
    bool aside = false;          // ask again at a later iteration
    TierKind waits{};            // then: for what
    std::int64_t recompute = 0;  // blocks behind the local ones that are computed during the load
    std::int64_t blocks = 0;     // behind those, that the load brings
    std::int64_t declined = 0;   // stored below, but not worth a load
  };
  struct Totals {
    std::int64_t loads = 0, stores = 0, promotions = 0, demotions = 0, failed = 0;  // transfers
    std::int64_t load_ns = 0;  // of all loads, start to end
  };

  RankTiers(const OffloadConfig&, std::int64_t block_tokens, std::vector<Level>, Transfers&,
            Client&);
  // What the restore policy asks. Without it everything is loaded.
  void estimate_with(const StepEstimator* steps) { steps_ = steps; }

  // Appends a record of every transfer that ends.
  void record_transfers(std::vector<TransferRecord>* to, std::uint32_t instance,
                        std::uint32_t rank) {
    records_ = to;
    instance_ = instance;
    rank_ = rank;
  }

  // Counts a prompt's arrival; may begin to bring it up.
  void arrived(const Prompt&);
  // What a load would bring. Begins the promotions it needs; repeated calls change nothing else.
  Match look_up(const Prompt&);
  // Starts the load that the last look_up of this prompt offered.
  void begin_load(const Prompt&);
  // The prompt is admitted: `loaded` of its blocks came from below. Uses are counted, order kept.
  void admitted(const Prompt&);
  // Blocks [0, blocks) of the sequence are computed; `from` is the first not offered before.
  void computed(const Prompt&, std::int64_t from);
  // Blocks [first, first + count) of a segment, the first of them the `at`-th of its sequence,
  // leave the GPU; write_leaving() then writes what has left to a first tier that is written back.
  void leaving(std::uint64_t segment, std::int64_t first, std::int64_t count, std::int64_t at);
  void write_leaving(const Access& about);
  // Blocks of the prompt from the `at`-th that were stored here and were lost to a fault.
  [[nodiscard]] std::int64_t lost_blocks(const Prompt&, std::int64_t at);
  // The request is over or gone; its fetches end.
  void forget(const Prompt&);
  // A request near the head of the queue: brings up what is below the first tier, once.
  void prefetch(const Prompt&, PrefetchRule);

  // The store is gone: everything of this rank that reads or writes it fails.
  void lost(const TierStore& store, Time now);
  void fail_all(Time now);

  // When a request set aside may have its answer although no transfer ends; kNever.
  [[nodiscard]] Time next_answer(Time now) const;
  // What a request set aside finds may change by what other ranks do.
  [[nodiscard]] bool shares_stores() const { return shares_stores_; }
  // Answers may change with time alone: leases end, directories learn.
  [[nodiscard]] bool depends_on_time() const { return depends_on_time_; }
  [[nodiscard]] bool loading(std::uint32_t slot) const {
    return slot < slots_.size() && slots_[slot].load != kNoJob;
  }
  [[nodiscard]] const std::array<std::int64_t, kMaxTiers>& loaded_blocks(std::uint32_t slot) const {
    return slots_[slot].from;
  }
  [[nodiscard]] const Totals& totals() const { return totals_; }
  [[nodiscard]] const std::vector<Level>& levels() const { return levels_; }
  [[nodiscard]] const OffloadConfig& config() const { return config_; }
  void transfer_ended(std::uint32_t job, Time at) override;

 private:
  static constexpr std::uint32_t kNoJob = 0xffffffffU;
  static constexpr std::uint8_t kRefused = 0xff;
  using Kind = TransferKind;
  struct Part {
    std::uint32_t level = 0;
    ObjectId id = kNoObject;
  };
  struct Job {
    bool live = false;
    Kind kind{};
    std::uint32_t slot = 0;
    std::uint32_t from = 0, to = 0;  // levels; of promotions, stores and demotions
    std::vector<Part> read;          // pinned sources, in prefix order
    std::vector<ObjectId> write;     // places taken in level `to`
    std::vector<FlowId> flows;
    std::uint32_t flows_left = 0;
    std::int64_t bytes = 0, chunks = 0;
    double weight = 1;  // of a chunk's bytes, what is read (hidden states weigh less)
    Time began{};
    Access about;
  };
  struct Slot {
    std::uint32_t load = kNoJob;
    std::array<Time, kMaxTiers> answer;          // of the existence check; kNever = not asked
    std::array<bool, kMaxTiers> closed{};        // gave a stale answer: not asked again
    std::array<std::int64_t, kMaxTiers> from{};  // blocks of the last load, by level they lay at
    std::vector<std::uint32_t> promotions;       // jobs under way
    // By chunk: the level it was brought up from; kRefused: no place was found for it.
    std::vector<std::uint8_t> raised;
    Time prefetch_until = kNever;
    bool queued = false;      // counted in the stores' queue columns
    bool prefetched = false;  // asked for before it was admitted
    Slot() { answer.fill(kNever); }
  };
  struct Found {
    std::uint32_t level = 0;
    ObjectId id = kNoObject;
    std::int64_t chunk = 0;
  };

  [[nodiscard]] std::int64_t chunks_of(std::int64_t blocks) const {
    return blocks / config_.chunk_blocks;
  }
  void name_chunks(const Prompt&);
  Slot& slot(std::uint32_t);
  std::uint32_t new_job(Kind, std::uint32_t slot, const Access&);
  void start(std::uint32_t job, const TransferPath&, std::int64_t bytes);
  void end_job(std::uint32_t job);
  enum class Look : std::uint8_t { missing, found, pending };
  Look look_at(const Prompt&, Slot&, std::int64_t chunk, Match&);
  Look look_at_level(const Prompt&, Slot&, std::int64_t chunk, std::uint32_t level, Match&);
  Look take_place(const Prompt&, std::uint32_t level, ObjectId id, std::int64_t chunk);
  void start_promotions(const Prompt&, Duration extra_latency);
  [[nodiscard]] bool still_waits(const Prompt&, Slot&);
  void stop_promotions(Slot&, Time now);
  void write(std::uint32_t level, const Prompt&, std::int64_t from, std::int64_t to);
  void demote(std::uint32_t from, std::span<const ObjectId> ids, bool evicted, const Access&);
  void cascade(std::uint32_t level, std::vector<ObjectId>& left, const Access&);
  void fail(std::uint32_t job, Time now);
  void choose(const Prompt&, Match&);
  void record(const Job&, Time end, bool failed);
  void count_queue(const Prompt&, std::int32_t by);

  const OffloadConfig& config_;
  std::int64_t block_tokens_;
  std::vector<Level> levels_;
  Transfers& transfers_;
  Client& client_;
  std::uint32_t listener_;
  std::vector<Slot> slots_;
  std::vector<Job> jobs_;
  std::vector<std::uint32_t> free_jobs_;
  bool depends_on_time_ = false, shares_stores_ = false;
  std::int64_t prefetching_ = 0;  // chunks of the first tier under promotion
  Totals totals_;
  std::unique_ptr<RestorePlanner> restore_;
  const StepEstimator* steps_ = nullptr;
  RestorePlan plan_;  // of the last look_up
  std::vector<TransferRecord>* records_ = nullptr;
  std::uint32_t instance_ = 0, rank_ = 0;
  // Scratch.
  std::vector<std::uint64_t> keys_;
  std::vector<Found> found_;
  std::vector<Part> lift_;
  std::vector<ObjectId> places_, left_, ids_, leaving_;
};

}  // namespace kvsim
