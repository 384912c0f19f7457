#pragma once
// One request inside one rank, and the plan of one iteration.
#include <cstdint>
#include <vector>

#include "policies/scheduler/scheduler.h"
#include "sim/base/time.h"
#include "sim/base/tool_call.h"
#include "sim/base/work.h"
#include "sim/engine/kv_form.h"
#include "sim/state/kv_pool.h"
#include "sim/state/outcome.h"

namespace kvsim {

// Token counts as the scheduler plans them: an iteration counts when it is planned, before it has
// run. In the order in which an iteration without features asks for them. What only some feature
// needs belongs behind `outcome`, or, where it is more than a few words, aside: in a table of the
// feature by slot, as AdapterSlots, HostCopies and RankTiers have theirs.
struct Sequence {
  // handed: it goes on elsewhere, its KV is here until it has been fetched. paused: a tool runs.
  enum class State : std::uint8_t { none, waiting, running, handed, paused };
  // KV from the tiers below. `loading`: outside the batch, blocks held; `ready`: it has come.
  enum class Fetch : std::uint8_t { none, loading, ready };
  // KV outside the batch, whole: on the GPU; being copied to host memory, where room for it is set
  // aside, its blocks not free yet; there alone; being copied back into blocks it has.
  enum class Rest : std::uint8_t { none, gpu, leaving, host, coming };
  // KV that another instance has: which transfer of the world, and tokens that it brings.
  static constexpr std::uint32_t kNoSource = 0xffffffffU;

  State state = State::none;
  Fetch fetch = Fetch::none;
  Rest rest = Rest::none;
  bool draining = false;      // its last token is planned; it leaves when that iteration ends
  bool starved = false;       // decodes, but had no part in the last planned iteration
  bool known_output = false;  // content covers the output: other requests may hit it
  bool late = false;          // which is published when somebody looks for it (late_outputs.h)
  bool admitted = false;      // was scheduled at least once
  bool lost = false;          // preempted or parked, and not admitted since
  bool resuming = false;  // admitted after a preemption, its first iteration since has not ended
  bool turned = false;    // is in the form that it decodes in
  bool decoding_since_mark = false;
  std::uint32_t source = kNoSource;
  std::int64_t prompt = 0, output = 0;
  std::int64_t computed = 0;       // tokens with KV; the decode group knows better while it decodes
  std::int64_t sampled = 0;        // output tokens planned; likewise
  std::int64_t reserved = 0;       // blocks it holds at least, whatever it computed
  std::int64_t owed = 0;           // late, and it left the decode group: tokens to be published
  const KvCurve* curve = nullptr;  // null: its KV stays as it was computed
  KvPool::Hold hold;
  std::vector<ContentChunk> content;
  // Blocks set aside for its KV in host memory: all it has while it is swapped out, else the share
  // of the layers that are not on the GPU.
  std::int64_t host_room = 0, host_layers = 0;
  std::int64_t host_copy = 0;  // full blocks of it there beside those on the GPU
  std::uint64_t order = 0;     // of admission: position in the running list

  // Accounting. Times are of iterations that ran.
  Time visible{};               // to the scheduler
  Time blocked_since = kNever;  // head of the queue without enough blocks since
  Time aside_since = kNever;    // set aside, waiting for a fetch
  Time lost_at = kNever, last_piece_end = kNever, late_since = kNever;
  // The rank's totals when its present decode segment began, and iterations without it since.
  std::int64_t mark_gpu = 0, mark_host = 0, mark_stall = 0;
  std::int64_t starved_gpu = 0, starved_host = 0, starved_stall = 0;
  RequestOutcome outcome;

  std::int64_t drafts = 0;     // that the iteration being planned verifies for it
  std::int64_t region = 0;     // where its blocks begin, when they lie in one piece
  std::int64_t premapped = 0;  // pages mapped for it before it came
  Duration attained{};         // in the batch, before its present admission,
  std::int64_t joined = 0;     // and the rank's busy time when that began
  std::int64_t told = 0;       // of `sampled`, what the scheduler has heard
  Standing standing;           // among those that wait, where it stays the same meanwhile
  std::int32_t priority = 0;
  std::uint32_t adapter = 0;                // 0 = the base model
  bool parked = false;                      // all its KV is in host memory, nobody preempted it
  bool first_load = false;                  // the load belongs to the first admission
  bool settled = false;                     // looked up below without having to wait for the answer
  bool pulling = false;                     // KV of its source is on its way
  bool passed_over = false;                 // no slot was free for its adapter
  bool moved = false;                       // lost its place in a batch by going on elsewhere
  bool returned = false;                    // a tool has, and it was not scheduled since
  TierKind aside_for{};                     // since aside_since
  std::int64_t skip_from = 0, skip_to = 0;  // tokens that a load brings while those before compute
  std::int64_t load_blocks = 0;             // of the present or last load
  // Tokens after which snapshots are wanted: before the end of the prompt, and where what others
  // computed ends (0 = nowhere).
  std::int64_t snapshot_last = 0, snapshot_junction = 0;
  std::int64_t offered = 0;        // blocks offered to the tiers for writing
  std::int64_t source_tokens = 0;  // of `source`
  std::vector<ToolCall> calls;     // it ends its present output with number next_call
  std::uint32_t next_call = 0;
  [[nodiscard]] std::int64_t known() const { return prompt + sampled; }
};

// What was expected of a request when it was routed.
struct Promise {
  std::int64_t tokens = 0;                     // found cached
  Duration work{};                             // to compute the rest
  std::uint32_t source = Sequence::kNoSource;  // of these tokens, when they must be copied
  Duration waited{};                           // for room at the instance that will take over
};

struct PlannedPrefill {
  std::uint32_t slot = 0;
  PrefillPiece piece;
};

// A sequence in a batch that is in flight.
struct Flight {
  enum class After : std::uint8_t { prompt, decode, leave };  // what it does when that is over
  std::uint32_t slot = 0;
  After after{};
  bool token = false;  // it decodes in this batch
};

// Attention to KV that lies on another instance (loans.h): of one token of some sequences, or of a
// piece of a prompt.
struct RemoteAttention {
  std::uint32_t creditor = 0;
  bool prompt = false;
  std::int64_t queries = 0, tokens = 0;  // tokens read, of all of them;
  std::int64_t most = 0;                 // of one sequence
};

struct Plan {
  bool empty = true;
  bool holds_decodes = false;  // prompts only: no decode takes part
  enum class Turn : std::uint8_t { prompts, decodes };
  Turn turn = Turn::prompts;   // whose it is, where they are planned apart
  bool skips_prompts = false;  // it is the decodes' turn, whoever waits
  bool plain =
      false;  // every decoding sequence and nothing else; nobody finishes; the queue did not move
  StepShape shape;     // prefills point to `pieces`
  TokenLoads loads{};  // of decodes in a compressed form
  PieceLoads prompts;  // of prompts that are to be compressed
  std::vector<PlannedPrefill> prefills;
  std::vector<PrefillPiece> pieces;
  std::vector<std::uint32_t> finishing;  // slots whose last token this iteration samples
  std::vector<std::uint32_t> starved;    // decoding sequences left out
  std::vector<std::uint32_t> late;       // in this one, left out of the one before
  std::vector<std::uint32_t> awaits;     // slots whose KV must have come before it can end
  std::vector<std::uint64_t> flushes;    // copies that must have left its blocks before it begins
  std::vector<std::uint32_t> resumed;    // decode again, having been swapped out
  std::vector<Flight> flights;           // where batches overlap
  std::vector<RemoteAttention> remote;
  std::int64_t preemptions = 0;
  // Driver time: of pages that nobody could foresee, and of pages that can be mapped while the
  // iteration before runs.
  std::int64_t mapping_ns = 0, mapping_ahead_ns = 0;
  std::int64_t restore_ns = 0;  // GPU time that loads begun with it need: K and V projections
  // Drafts that it verifies, those of them that turn out right, most of one sequence.
  std::int64_t drafted = 0, accepted = 0, draft_steps = 0;
  std::int64_t adapter_ns = 0;  // GPU time of adapters: copies into slots, and their products
  std::int64_t encode_ns = 0;   // GPU time of images that its prompts bring
  KvOccupancy occupancy;        // while it runs
  void clear() {
    empty = true;
    turn = Turn::prompts;
    plain = holds_decodes = skips_prompts = false;
    shape = StepShape{};
    loads = {};
    prompts = {};
    prefills.clear();
    pieces.clear();
    finishing.clear();
    starved.clear();
    late.clear();
    awaits.clear();
    flushes.clear();
    resumed.clear();
    flights.clear();
    remote.clear();
    preemptions = mapping_ns = mapping_ahead_ns = restore_ns = 0;
    drafted = accepted = draft_steps = adapter_ns = encode_ns = 0;
    occupancy = {};
  }
};

}  // namespace kvsim
