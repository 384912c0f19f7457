#pragma once
// One rank's way to the tiers below its GPU: what of a prompt is stored there, loads, writes,
// prefetches. Rules: engine-semantics sections 6 (vLLM's connectors), 10 (HiCache), 11.
//
// A prompt is looked at in chunks of `chunk_blocks` blocks from its start; a chunk is named by the
// content of its last block. Time is the planner's: a transfer starts when it is decided.
#include <algorithm>
#include <array>
#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "sim/engine/tier_config.h"
#include "sim/engine/tier_pool.h"
#include "sim/engine/tier_store.h"
#include "sim/engine/transfers.h"
#include "sim/state/block_pool.h"
#include "sim/state/outcome.h"

namespace kvsim {

class RankTiers final : public Transfers::Listener {
 public:
  // A store and the way from it to the GPU (or, staged, to the first tier).
  struct Source {
    TierStore* store = nullptr;
    TransferPath in;
    Duration alone{};  // that one chunk takes with the way for itself
  };
  // A tier as this rank sees it: one store, or those of a pool by number.
  struct Level {
    std::vector<Source> sources;
    std::uint32_t own = 0;     // of the sources: where it writes
    TransferPath out;          // to there
    bool shared = false;       // other ranks use the tier
    TierPool* pool = nullptr;  // that the sources are
    [[nodiscard]] TierStore& store() const { return *sources[own].store; }
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
    std::int64_t replications = 0;
    std::int64_t load_ns = 0;  // of all loads, start to end
  };

  RankTiers(const OffloadConfig&, std::int64_t block_tokens, std::vector<Level>, Transfers&,
            Client&);
  // What the restore policy asks. Without it everything is loaded.
  void estimate_with(const StepEstimator* steps) { steps_ = steps; }

  // Other ways to the same stores, for transfers that begin from now on.
  void take_ways(const std::vector<TierWay>&);

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
  // Starts the load that the last look_up of this prompt offered. Gives the GPU time that it needs
  // besides (projecting hidden states); the load is not over before that.
  Duration begin_load(const Prompt&);
  // The prompt is admitted: `loaded` of its blocks came from below. Uses are counted, order kept.
  void admitted(const Prompt&);
  // Blocks [0, blocks) of the sequence are computed; `from` is the first not offered before.
  void computed(const Prompt&, std::int64_t from);
  // Blocks [first, first + count) of a segment, the first of them the `at`-th of its sequence,
  // leave the GPU and are overwritten; write_leaving() then writes what has left to a first tier
  // that is written back.
  void leaving(std::uint64_t segment, std::int64_t first, std::int64_t count, std::int64_t at);
  void write_leaving(const Access& about);
  // Copies that read memory which has been given away since the last call: they must end before it
  // is written to. Appended to `out`.
  void take_flushes(std::vector<std::uint64_t>& out);
  [[nodiscard]] bool copying(std::uint64_t copy) const {
    return std::binary_search(copies_.begin(), copies_.end(), copy);
  }
  [[nodiscard]] bool copying() const { return !copies_.empty(); }
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
  // Of these: from other nodes' stores of a pool.
  [[nodiscard]] const std::array<std::int64_t, kMaxTiers>& far_blocks(std::uint32_t slot) const {
    return slots_[slot].far;
  }
  [[nodiscard]] const Totals& totals() const { return totals_; }
  [[nodiscard]] const std::vector<Level>& levels() const { return levels_; }
  [[nodiscard]] const OffloadConfig& config() const { return config_; }
  void transfer_ended(std::uint32_t job, Time at) override;

 private:
  static constexpr std::uint32_t kNoJob = 0xffffffffU;
  static constexpr std::uint8_t kRefused = 0xff, kFar = 0x80;
  using Kind = TransferKind;
  struct Part {
    std::uint32_t level = 0, source = 0;
    ObjectId id = kNoObject;
  };
  struct Job {
    bool live = false;
    Kind kind{};
    std::uint32_t slot = 0;
    std::uint32_t from = 0, to = 0;  // levels; of promotions, stores and demotions
    std::uint64_t copy = 0;          // from GPU memory: its name; 0 = it reads none
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
    std::array<Time, kMaxTiers> answer;  // of the existence check; kNever = not asked
    // Level and source that gave a stale answer: not asked again.
    std::vector<std::pair<std::uint32_t, std::uint32_t>> closed;
    std::array<std::int64_t, kMaxTiers> from{};  // blocks of the last load, by level they lay at
    std::array<std::int64_t, kMaxTiers> far{};   // of these, at other nodes
    std::vector<std::uint32_t> promotions;       // jobs under way
    // By chunk: the level it was brought up from, and kFar; kRefused: no place was found for it.
    std::vector<std::uint8_t> raised;
    Time prefetch_until = kNever;
    bool queued = false;      // counted in the stores' queue columns
    bool prefetched = false;  // asked for before it was admitted
    Slot() { answer.fill(kNever); }
  };
  struct Found {
    Part part;
    std::int64_t chunk = 0;
  };
  // A chunk as the directory shows it.
  struct Seen {
    Part part;
    TierStore::State believed = TierStore::State::absent;
  };

  [[nodiscard]] std::int64_t chunks_of(std::int64_t blocks) const {
    return blocks / config_.chunk_blocks;
  }
  void price_sources();
  void name_chunks(const Prompt&);
  Slot& slot(std::uint32_t);
  std::uint32_t new_job(Kind, std::uint32_t slot, const Access&);
  void start(std::uint32_t job, const TransferPath&, std::int64_t bytes);
  void end_job(std::uint32_t job);
  [[nodiscard]] TierStore& store_of(const Part& p) const {
    return *levels_[p.level].sources[p.source].store;
  }
  [[nodiscard]] bool is_far(const Part& p) const { return p.source != levels_[p.level].own; }
  [[nodiscard]] Seen seek(std::uint32_t level, const Slot*, std::uint64_t key, Time now) const;
  [[nodiscard]] bool lacks(std::uint32_t level, ObjectId own, Time now) const;
  ObjectId intern_here(TierStore& here, const TierStore& there, ObjectId id);
  enum class Look : std::uint8_t { missing, found, pending };
  Look look_at(const Prompt&, Slot&, std::int64_t chunk, Match&);
  Look look_at_level(const Prompt&, Slot&, std::int64_t chunk, std::uint32_t level, Match&);
  Look take_place(const Prompt&, const Part&, std::int64_t chunk);
  void start_promotions(const Prompt&, Duration extra_latency);
  [[nodiscard]] bool still_waits(const Prompt&, Slot&);
  void stop_promotions(Slot&, Time now);
  void write(std::uint32_t level, const Prompt&, std::int64_t from, std::int64_t to);
  void demote(std::uint32_t from, std::span<const ObjectId> ids, bool evicted, const Access&);
  void cascade(std::uint32_t level, std::vector<ObjectId>& left, const Access&);
  void copy_down(Kind, std::uint32_t from, std::uint32_t to, std::vector<ObjectId> places,
                 bool still_there, const Access&);
  void replicate(const Job&);
  void store_from_gpu(Kind, std::uint32_t level, std::uint32_t slot, const Access&);
  void let_go(const Job&);
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
  // Copies out of GPU memory under way: all, in the order of their begin; by the chunk and level
  // that they write; those that the next iteration must wait for.
  std::vector<std::uint64_t> copies_;
  boost::unordered_flat_map<std::uint64_t, std::uint64_t> copy_of_;
  std::vector<std::uint64_t> flushes_;
  std::uint64_t copies_begun_ = 0;
};

}  // namespace kvsim
