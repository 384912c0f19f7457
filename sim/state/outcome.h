#pragma once
// What a run leaves behind: plain columns that the engine appends to and the recorder writes.
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "sim/base/sparse_counts.h"
#include "sim/base/tier.h"
#include "sim/base/time.h"

namespace kvsim {

enum class Outcome : std::uint8_t { finished, rejected, timed_out };
constexpr auto enum_names(Outcome) {
  return std::array{std::pair{Outcome::finished, "finished"},
                    std::pair{Outcome::rejected, "rejected"},
                    std::pair{Outcome::timed_out, "timed_out"}};
}

// Where a request's time went. TTFT is the exact sum of the kinds up to the first token, E2E of
// both phases.
enum class Interval : std::uint8_t {
  front_end,       // arrival at the server until the scheduler may see it
  queue,           // waiting: step boundaries, requests ahead, token budget, running cap; after the
                   // first token: from a tool's return until it is scheduled again
  blocked_memory,  // waiting at the head of the queue because KV blocks are short
  prefill,         // GPU time of iterations that compute its known tokens (prompt, or again after a
                   // preemption)
  chunk_wait,      // iterations that ran without it between two of its prefill chunks
  decode,          // GPU time of iterations that compute its next token
  decode_wait,     // iterations that ran without it between two of its tokens
  host,            // host overhead of iterations it took part in
  load_stall,      // iterations it took part in waited for KV from below, or for copies of it
  fetch_cpu,       // set aside until its KV has come from CPU memory; step boundaries included
  fetch_ssd,       // the same, from SSD
  fetch_remote,    // the same, from a remote pool
  preempted,       // from losing its KV blocks until it is scheduled again
  tool,            // waiting for a tool that it called
  handover,        // from leaving one instance until it is scheduled at another, which has its KV
  back_end         // after the iteration: detokenise and stream the token out
};
inline constexpr std::size_t kIntervals = 16;
constexpr auto enum_names(Interval) {
  return std::array{std::pair{Interval::front_end, "front_end"},
                    std::pair{Interval::queue, "queue"},
                    std::pair{Interval::blocked_memory, "blocked_memory"},
                    std::pair{Interval::prefill, "prefill"},
                    std::pair{Interval::chunk_wait, "chunk_wait"},
                    std::pair{Interval::decode, "decode"},
                    std::pair{Interval::decode_wait, "decode_wait"},
                    std::pair{Interval::host, "host"},
                    std::pair{Interval::load_stall, "load_stall"},
                    std::pair{Interval::fetch_cpu, "fetch_cpu"},
                    std::pair{Interval::fetch_ssd, "fetch_ssd"},
                    std::pair{Interval::fetch_remote, "fetch_remote"},
                    std::pair{Interval::preempted, "preempted"},
                    std::pair{Interval::tool, "tool"},
                    std::pair{Interval::handover, "handover"},
                    std::pair{Interval::back_end, "back_end"}};
}

// Why a prompt token was computed instead of found in the prefix cache at first admission.
enum class MissCause : std::uint8_t {
  never_seen,        // no request has brought this content before
  other_instance,    // seen before, but only by other instances (or data-parallel ranks)
  evicted_capacity,  // was cached here; its block (or one before it) was reused
  last_block,  // the block of the prompt's last token is always computed; partial blocks are never
               // cached
  not_yet_computed,   // another request is computing it right now, its block does not exist yet
  reset,              // lost when the cache was reset
  lost_fault,         // lost with its instance, disk or node, or on the way from there
  not_worth_loading,  // a tier below has it, but computing it was thought better
  no_snapshot,        // KV is there, but no copy of the states or windows behind it
  disabled,           // prefix caching is off
  not_shareable       // computed here before, but compressed for that request alone
};
inline constexpr std::size_t kMissCauses = 11;
constexpr auto enum_names(MissCause) {
  return std::array{std::pair{MissCause::never_seen, "never_seen"},
                    std::pair{MissCause::other_instance, "other_instance"},
                    std::pair{MissCause::evicted_capacity, "evicted_capacity"},
                    std::pair{MissCause::last_block, "last_block"},
                    std::pair{MissCause::not_yet_computed, "not_yet_computed"},
                    std::pair{MissCause::reset, "reset"},
                    std::pair{MissCause::lost_fault, "lost_fault"},
                    std::pair{MissCause::not_worth_loading, "not_worth_loading"},
                    std::pair{MissCause::no_snapshot, "no_snapshot"},
                    std::pair{MissCause::disabled, "disabled"},
                    std::pair{MissCause::not_shareable, "not_shareable"}};
}

// Of the intervals, causes and tiers a request meets few: what it does not meet takes no room.
using IntervalTimes = SparseCounts<kIntervals, 4>;
using MissCounts = SparseCounts<kMissCauses, 2>;
using TierCounts = SparseCounts<kMaxTiers, 0>;

// One request, over. Times are kNever where the event did not happen. A run keeps one of these for
// each of its requests: what only some feature counts goes into SparseCounts, or beside it.
struct RequestOutcome {
  std::uint64_t index = 0;
  std::uint64_t session = 0;
  std::uint32_t turn = 0, tenant = 0;
  std::uint32_t instance = 0, rank = 0;
  std::int64_t prompt_tokens = 0, output_tokens = 0;
  // When it was routed: tokens that the router's index promised, and the time it took for the rest.
  std::int64_t promised_tokens = 0, promised_ns = 0;
  Time arrival{}, scheduled = kNever, first_token = kNever, last_token = kNever;
  IntervalTimes ttft_ns;            // up to the first token
  IntervalTimes after_ns;           // from there to the last
  std::int64_t hit_tokens = 0;      // prefix hits at first admission
  std::int64_t queried_tokens = 0;  // known tokens at first admission
  MissCounts miss_tokens;
  std::int64_t recomputed_tokens = 0;  // computed again after preemptions and tool calls
  Outcome outcome = Outcome::finished;
  std::uint32_t preemptions = 0;
  const char* reason = "";  // of a rejection or time-out; static text
  std::uint32_t swaps = 0;  // preemptions that kept its KV in host memory
  std::uint32_t tool_calls = 0;
  std::uint32_t first_instance = 0;  // that it was routed to first
  std::uint32_t handovers = 0;       // from one instance to another, with its KV
  TierCounts tier_tokens;            // hits loaded from each tier below instead
  TierCounts far_tokens;             // of these, from another node's memory
  std::int64_t peer_tokens = 0;      // copied from another instance's cache at first admission
  std::int64_t held_ns = 0;          // of its front end: held back by a quota of its tenant
};

// One decision of a router (recorded on request), and how good it was: what each instance would
// have cost is judged by what they really had cached and by the work in front of it.
struct DecisionRecord {
  struct Alternative {
    std::uint32_t instance = 0;
    double score = 0;  // the router's own, the least is best; NaN = not looked at
    std::int64_t in_flight = 0, pending_tokens = 0;
    std::int64_t promised_tokens = 0, cached_tokens = 0;  // by the router's index, and in truth
    std::int64_t cost_ns =
        0;  // to compute all that waits there, and of this prompt what is not cached
  };
  std::uint64_t request = 0;
  Time at{};
  Alternative chosen;
  std::vector<Alternative> others;  // the least costly of them, in order
  // Of the best instance, chosen or not; chosen.cost_ns - best_ns is the regret.
  std::uint32_t best_instance = 0;
  std::int64_t best_ns = 0;
};

// What the KV memory of a rank is used for at some instant.
struct KvOccupancy {
  std::int64_t used_blocks = 0;      // held by requests, shared ones once
  std::int64_t unfilled_tokens = 0;  // places in them without a token: internal fragmentation
  // Free, but in no hole that is large enough for the head of the queue: external fragmentation.
  std::int64_t stranded_blocks = 0;
};

// The same over the iterations of a rank, weighted by their time.
class KvUse {
 public:
  void add(const KvOccupancy& o, std::int64_t ns) {
    used_ += Wide{o.used_blocks} * ns;
    unfilled_ += Wide{o.unfilled_tokens} * ns;
    stranded_ += Wide{o.stranded_blocks} * ns;
    ns_ += ns;
    if (o.unfilled_tokens > peak_unfilled_) peak_unfilled_ = o.unfilled_tokens;
    if (o.stranded_blocks > peak_stranded_) peak_stranded_ = o.stranded_blocks;
  }
  // Iterations one after another, from `begin` to their ends: each takes opened[i] blocks, of
  // `block_tokens` places, and fills `filled` of them. `o` is that of the first, then that of the
  // one behind the last.
  void add(KvOccupancy& o, Time begin, std::span<const Time> ends,
           std::span<const std::int64_t> opened, std::int64_t block_tokens, std::int64_t filled);
  // Means over that time; 0 without any.
  [[nodiscard]] double used_blocks() const { return mean(used_); }
  [[nodiscard]] double unfilled_tokens() const { return mean(unfilled_); }
  [[nodiscard]] double stranded_blocks() const { return mean(stranded_); }
  [[nodiscard]] std::int64_t peak_unfilled_tokens() const { return peak_unfilled_; }
  [[nodiscard]] std::int64_t peak_stranded_blocks() const { return peak_stranded_; }

 private:
  __extension__ typedef __int128 Wide;
  [[nodiscard]] double mean(Wide sum) const {
    return ns_ > 0 ? static_cast<double>(sum) / static_cast<double>(ns_) : 0;
  }
  Wide used_ = 0, unfilled_ = 0, stranded_ = 0;
  std::int64_t ns_ = 0, peak_unfilled_ = 0, peak_stranded_ = 0;
};

// One iteration of one rank (recorded on request).
struct IterationRecord {
  std::uint32_t instance = 0, rank = 0;
  Time start{}, end{};
  std::int64_t decodes = 0, prefill_tokens = 0, context_sum = 0;
  std::int64_t running = 0, waiting = 0, free_blocks = 0, preemptions = 0;
  std::int64_t prompts = 0;          // sequences that computed prompt tokens
  std::int64_t held_blocks_end = 0;  // after it, when whoever finished has left
};

// State of one rank at a sampling instant.
struct InstanceSample {
  Time at{};
  std::uint32_t instance = 0, rank = 0;
  std::int64_t running = 0, waiting = 0, used_blocks = 0, cached_blocks = 0, total_blocks = 0;
  std::int64_t prompt_tokens = 0, output_tokens = 0;      // computed since the start
  std::int64_t unfilled_tokens = 0, stranded_blocks = 0;  // KvOccupancy
};

// Weighted sample of positive durations with a relative resolution of 2^-10; mean, min and max are
// exact.
class DurationHistogram {
 public:
  void add(std::int64_t ns, std::int64_t weight);
  // The gaps from `begin` through all of `ends`, each with this weight.
  void add_gaps(Time begin, std::span<const Time> ends, std::int64_t weight);
  void merge(const DurationHistogram&);
  [[nodiscard]] std::int64_t count() const { return count_; }
  [[nodiscard]] double mean_ns() const;
  [[nodiscard]] double std_ns() const;  // from the bins' middles
  [[nodiscard]] std::int64_t min_ns() const { return min_; }
  [[nodiscard]] std::int64_t max_ns() const { return max_; }
  [[nodiscard]] double quantile_ns(double q) const;  // 0 when empty

 private:
  std::vector<std::int64_t> bins_;
  std::int64_t count_ = 0, min_ = 0, max_ = 0;
  __extension__ typedef __int128 Wide;
  Wide sum_ = 0;
};

// Snapshots of states and windows in one rank: how many there is room for, and what became of them.
struct SnapshotTotals {
  std::int64_t slots = 0, saved = 0, used = 0, evicted = 0;
};

// What the compressed form of KV took in one rank, over the decode steps of all its requests. Times
// are of what had to be done, whatever else happened at the same time.
struct KvFormTotals {
  std::int64_t score_ns = 0, index_ns = 0, restore_ns = 0, merge_ns = 0, encode_ns = 0;
  std::int64_t fetch_ns = 0, far_ns = 0;
  std::int64_t prompt_ns = 0, prompt_link_ns = 0;  // when prompts were computed: GPU, host link
  // Sums over the steps: tokens that a sequence had, and those of the uncompressed cache that take
  // as much memory, and as long to read.
  std::int64_t context_tokens = 0, kept_tokens = 0, read_tokens = 0;
  std::int64_t token_bytes = 0;  // of an uncompressed token on one rank's GPUs
  std::int64_t turned = 0;       // prompts that were compressed
  std::int64_t hidden = 0;       // of those, whose hidden states are kept in place of KV
};

// Speculative decoding in one rank: sequences times iterations that verified drafts, the drafts,
// and those that were right.
struct SpeculationTotals {
  std::int64_t verifications = 0, drafted = 0, accepted = 0, draft_ns = 0;
};

// Prefixes that decodes shared, over the iterations: tokens in shared blocks, counted for every
// sequence, and those blocks' tokens as attention read them, once.
struct SharedReadTotals {
  std::int64_t shared_tokens = 0, read_tokens = 0;
};

// LoRA adapters of one rank: copies into GPU slots, requests that were passed over because all
// slots were in use, and GPU time of copies and products.
struct AdapterTotals {
  std::int64_t loads = 0, passed_over = 0, step_ns = 0;
};

// Batches in flight through pipeline stages: the time with any of them, what stages worked for them
// (of all stages together), and their own times from first stage to last.
struct PipelineTotals {
  std::int64_t stages = 0, span_ns = 0, work_ns = 0, batch_ns = 0;
};

// Images that were encoded, their tokens, those whose output was still there, and the time that it
// took; of encoders of their own also requests, what these waited for, and bytes sent.
struct EncoderTotals {
  std::int64_t images = 0, tokens = 0, hits = 0, busy_ns = 0;
  std::int64_t encoders = 0, requests = 0, wait_ns = 0, sent_bytes = 0;
};

// Totals of one rank over the run; first what every iteration adds to.
struct RankTotals {
  std::uint32_t instance = 0, rank = 0;
  std::int64_t iterations = 0, decode_iterations = 0;
  std::int64_t prefill_tokens = 0, decode_tokens = 0;
  std::int64_t busy_ns = 0, gpu_ns = 0, host_ns = 0;
  std::int64_t stall_ns = 0;     // iterations that waited for loads or copies
  std::int64_t mapping_ns = 0;   // of host_ns: iterations waited for pages to be mapped
  std::int64_t peak_blocks = 0;  // most blocks referenced at once
  KvUse kv{};
  std::int64_t queried_tokens = 0, hit_tokens = 0;  // first admissions
  std::int64_t preemptions = 0;
  std::int64_t blocks = 0;  // usable KV blocks
  std::int64_t block_tokens = 0;
  std::int64_t evicted_blocks = 0;
  std::int64_t resumed_queried_tokens = 0, resumed_hit_tokens = 0;  // after preemptions
  std::array<std::int64_t, kMaxTiers> tier_tokens{};                // first admissions
  // Host memory outside the tiers: sequences swapped out and back, prompts that came in with only
  // some layers on the GPU, bytes copied either way, most blocks there at once.
  std::int64_t swaps_out = 0, swaps_in = 0, layered_prompts = 0;
  std::int64_t to_host_bytes = 0, from_host_bytes = 0, peak_host_blocks = 0;
  // Tool calls during which KV stayed on the GPU, went to host memory, was given up; and of the
  // first, those that lost it after all because others ran short of blocks.
  std::int64_t tools_kept = 0, tools_swapped = 0, tools_discarded = 0, tools_reclaimed = 0;
  SnapshotTotals snapshots{};
  KvFormTotals forms{};
  SpeculationTotals speculation{};
  SharedReadTotals shared{};
  AdapterTotals adapters{};
  PipelineTotals pipeline{};
  EncoderTotals encoder{};
};

// One store of one tier over the run.
struct TierTotals {
  std::uint32_t tier = 0, store = 0;  // index in cache.tiers below the GPU; which store of it
  std::string name;
  TierKind kind = TierKind::cpu;
  std::int64_t capacity_chunks = 0, chunk_bytes = 0, chunk_tokens = 0;
  std::int64_t resident = 0, peak = 0;  // chunks, at the end and at most
  std::int64_t inserted = 0, evicted = 0, expired = 0, lost = 0, refused = 0, abandoned = 0;
  std::int64_t read = 0, stale = 0;
  std::int64_t read_bytes = 0, written_bytes = 0;
  // Of a pool that lies with those who wrote it: chunks that other nodes read here, copies that
  // were made here, and those of `evicted` that another store still had.
  bool pooled = false;
  std::int64_t far_read = 0, far_read_bytes = 0, copied = 0, copied_bytes = 0, dropped = 0;
  double drive_life_years = 0;  // at the run's rate of writing; 0 = no drive, or nothing written
};

// State of one store at a sampling instant.
struct TierSample {
  Time at{};
  std::uint32_t tier = 0, store = 0;
  std::int64_t resident = 0;                       // chunks
  std::int64_t read_bytes = 0, written_bytes = 0;  // since the start
};

// One transfer that ended (recorded on request).
struct TransferRecord {
  std::uint32_t instance = 0, rank = 0;
  std::uint8_t kind = 0;           // TransferKind
  std::uint32_t from = 0, to = 0;  // tiers below the GPU from 1; 0 = the GPU
  Time start{}, end{};
  std::int64_t bytes = 0, chunks = 0;
  bool failed = false;
};

enum class FaultKind : std::uint8_t { instance, node, tier, link, directory };
constexpr auto enum_names(FaultKind) {
  return std::array{std::pair{FaultKind::instance, "instance"}, std::pair{FaultKind::node, "node"},
                    std::pair{FaultKind::tier, "tier"}, std::pair{FaultKind::link, "link"},
                    std::pair{FaultKind::directory, "directory"}};
}

// One fault and what it cost.
struct FaultRecord {
  FaultKind kind{};
  std::string target;
  Time at{}, end = kNever;          // kNever: not over when the run ended
  std::int64_t requests_moved = 0;  // that lost their KV and went on elsewhere
  std::int64_t blocks_lost = 0;     // cached KV blocks of GPUs
  std::int64_t chunks_lost = 0;     // of tiers
  std::int64_t transfers_failed = 0;
  double goodput_before = 0;  // finished requests/s in the window before
  double goodput_least = 0;   // least of the windows from the fault on
  Duration recovery{};        // until a window reaches 95 % of before again; 0 = never fell, or
                              // the run ended first
};

// An instance of a fleet that scales changes; counts are of the moment after it.
struct ScaleEvent {
  enum class Kind : std::uint8_t { start, up, drain, recall, cancel, stop };
  Time at{};
  std::uint32_t instance = 0;
  Kind kind{};
  std::int64_t wanted = 0;  // instances, by the rule, when it was last asked
  std::int64_t up = 0, starting = 0, draining = 0;
  std::int64_t waiting = 0, in_flight = 0;  // requests
};
constexpr auto enum_names(ScaleEvent::Kind) {
  using Kind = ScaleEvent::Kind;
  return std::array{std::pair{Kind::start, "start"},   std::pair{Kind::up, "up"},
                    std::pair{Kind::drain, "drain"},   std::pair{Kind::recall, "recall"},
                    std::pair{Kind::cancel, "cancel"}, std::pair{Kind::stop, "stop"}};
}

// One link of the machine over the run.
struct LinkUse {
  std::string name;
  double bandwidth = 0;  // bytes/s
  std::int64_t bytes = 0, busy_ns = 0, peak_flows = 0;
  double flow_seconds = 0;  // integral of the number of flows: / busy = mean while busy
};

// The last three: KV of admitted requests, outside the tiers; handover: between instances.
enum class TransferKind : std::uint8_t {
  load,
  promote,
  store,
  demote,
  replicate,
  to_host,
  from_host,
  handover
};
constexpr auto enum_names(TransferKind) {
  return std::array{std::pair{TransferKind::load, "load"},
                    std::pair{TransferKind::promote, "promote"},
                    std::pair{TransferKind::store, "store"},
                    std::pair{TransferKind::demote, "demote"},
                    std::pair{TransferKind::replicate, "replicate"},
                    std::pair{TransferKind::to_host, "to_host"},
                    std::pair{TransferKind::from_host, "from_host"},
                    std::pair{TransferKind::handover, "handover"}};
}

// KV memory that instances lent each other.
struct LendingTotals {
  std::int64_t loans = 0, peak_blocks = 0;  // given; most blocks lent at once
  std::int64_t remote_tokens = 0;           // that creditors attended to, summed over iterations
  std::int64_t copied_bytes = 0, message_bytes = 0;
  // Debtors waited for messages, attention elsewhere and copies; creditors computed for others.
  std::int64_t wait_ns = 0, served_ns = 0;
};

// Everything a run produced.
struct RunOutcome {
  std::vector<RequestOutcome> requests;  // in order of completion
  std::vector<IterationRecord> iterations;
  std::vector<InstanceSample> samples;
  std::vector<RankTotals> ranks;
  std::vector<TierTotals> tiers;
  std::vector<LinkUse> links;
  std::vector<TierSample> tier_samples;
  std::vector<TransferRecord> transfers;
  std::vector<FaultRecord> faults;
  std::vector<DecisionRecord> decisions;
  // Of a fleet that scales: its changes, and the time that each instance was not off.
  std::vector<ScaleEvent> scaling;
  std::vector<std::int64_t> instance_ns;
  // KV that went from instance to instance: requests that went with it, prefixes copied, bytes.
  std::int64_t handovers = 0, copies = 0, peer_bytes = 0;
  LendingTotals lending;
  EncoderTotals encoders;          // of their own
  std::int64_t role_switches = 0;  // instances that went from prompts to tokens, or back
  DurationHistogram itl;           // all gaps between consecutive tokens, pooled
  std::uint64_t injected = 0;
  Time end{};  // last event
  std::uint64_t digest = 0;
};

}  // namespace kvsim
