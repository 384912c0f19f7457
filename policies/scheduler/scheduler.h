#pragma once
// Who goes first: the contract of every scheduler. It answers, the rank acts: requests are admitted
// in the order of their standings while there is room, and preempted from the other end. One
// scheduler serves one rank.
//
// A standing is asked when a request begins to wait (Queue::fixed), or of all that wait whenever
// some could be admitted (Queue::moving). Iterations in which nothing but decoding happens are
// skipped by the engine as long as no answer can change: what an order depends on is declared in
// Traits.
#include <cstdint>
#include <limits>
#include <optional>
#include <span>

#include "sim/base/registry.h"
#include "sim/base/time.h"
#include "sim/base/tool_call.h"
#include "sim/state/kv_pool.h"
#include "sim/state/step_estimator.h"

namespace kvsim {

// A request as a scheduler may know it. Token counts are as planned: an iteration counts when it is
// planned, not when it has run.
struct SchedulerRequest {
  std::uint32_t slot = 0;  // the rank's number of it: dense, used again once it has left
  std::uint64_t index = 0, session = 0;
  std::uint32_t tenant = 0;
  std::int32_t priority = 0;  // lower is more urgent
  Time arrival{};
  // While a tool is to be called: what it has before the present stretch of output, that stretch.
  std::int64_t prompt = 0;
  std::int64_t output = 0;  // that it will produce: for oracles and noisy guesses (length_guess.h)
  std::int64_t computed = 0;  // tokens whose KV exists; 0 after a preemption that gave it up
  std::int64_t sampled = 0;   // output tokens so far
  Duration attained{};        // time of the iterations in whose batch it was
  bool running = false;
  bool was_admitted = false;                // at some time
  std::span<const ContentChunk> content{};  // chained keys of its prompt, in blocks
  // Tools still to be called, the first when `output` is produced, and what it produces after the
  // last (0: it calls none).
  std::span<const ToolCall> calls{};
  std::int64_t last_output = 0;
  [[nodiscard]] std::int64_t known() const { return prompt + sampled; }
};

// Smaller goes first; equals go by arrival, then by request number.
struct Standing {
  std::int64_t level = 0;
  double value = 0;
  // Not to be admitted now, whatever room there is. Somebody must not be held while nothing runs.
  static constexpr Standing held() { return {std::numeric_limits<std::int64_t>::max(), 0}; }
  [[nodiscard]] constexpr bool is_held() const { return level == held().level; }
  friend constexpr bool operator<(const Standing& a, const Standing& b) {
    return a.level != b.level ? a.level < b.level : a.value < b.value;
  }
};

// What a scheduler may ask of its rank, within its calls.
class SchedulerRank {
 public:
  // Tokens at the front of a waiting request that the GPU's prefix cache holds now.
  [[nodiscard]] virtual std::int64_t hit_tokens(std::uint32_t slot) = 0;
  [[nodiscard]] virtual std::int64_t running() const = 0;  // requests in the batch
  // To copy KV of so many tokens to host memory or back, on idle links; none: nothing goes there.
  [[nodiscard]] virtual std::optional<Duration> host_copy(std::int64_t tokens) const = 0;
  // Blocks that a request holds while it runs, or takes when it is admitted.
  struct Room {
    std::int64_t kv = 0;
    std::int64_t hidden = 0;  // with hidden states in place of keys and values; 0: it may not
    Duration projection{};    // and what an iteration with it then takes longer
  };
  [[nodiscard]] virtual Room room_of(std::uint32_t slot) const = 0;
  // Blocks that those who wait may take now.
  [[nodiscard]] virtual std::int64_t free_blocks() const = 0;

 protected:
  ~SchedulerRank() = default;
};

class Scheduler {
 public:
  using Contract = Scheduler;
  static constexpr const char* kKind = "scheduler";
  struct Context {
    std::uint64_t seed = 0;
    std::int64_t block_tokens = 16, max_running = 256, max_batched_tokens = 8192;
    std::optional<Duration> ttft, tpot, e2e;  // objectives of the scenario
    const StepEstimator* steps = nullptr;     // null, and so is rank, when only parameters are read
    SchedulerRank* rank = nullptr;
  };
  // Constant while the scheduler lives.
  struct Traits {
    enum class Queue : std::uint8_t {
      arrival,  // newcomers last, preempted ones first; no standing is asked of who waits
      fixed,    // by standing, which stays the same while a request waits
      moving    // by standing, asked at every plan
    };
    Queue queue = Queue::arrival;
    // When KV blocks are short the running request that stands last is preempted; otherwise the
    // one admitted last.
    bool ranks_running = false;
    // A waiting request may displace running ones (needs ranks_running).
    bool preempts = false;
    // Standings, or who displaces whom, may change while the batch only decodes: by time, by
    // service or by the cache. Otherwise a request that may not displace another now may not later.
    bool moves = false;
    // An admission changes the standings of others that wait (moving only).
    bool charges = false;
    // served() is wanted.
    bool hears_tokens = false;
    // A running request whose standing is held leaves the batch after its iteration (needs
    // ranks_running and moves). Its KV stays, where the engine's preemption lets it.
    bool holds_running = false;
    // keeps_hidden() is wanted, where hidden states may be kept (cache.hidden_states).
    bool chooses_form = false;
  };
  // What is expected of a request that waits: how long it may run before it must make way, once its
  // turn has come, and after how long it goes ahead of all others if it still waits.
  struct Turn {
    Duration length{}, promotion = Duration::max();
  };
  virtual ~Scheduler() = default;
  [[nodiscard]] virtual Traits traits() const = 0;

  // All that wait, before their standings are asked for one plan (moving only).
  virtual void prepare(std::span<const SchedulerRequest> waiting, Time now) {
    (void)waiting, (void)now;
  }
  // Of a waiting request, and of a running one where those are ranked.
  virtual Standing standing(const SchedulerRequest&, Time now) {
    (void)now;
    return {};
  }
  // `waiting` has no room and could take that of `running`. What it displaces must not displace it
  // in turn before either was served.
  virtual bool displaces(const SchedulerRequest& waiting, const SchedulerRequest& running,
                         Time now) {
    return standing(waiting, now) < standing(running, now);
  }
  // Of a waiting request or a running one: for those who move KV ahead of need. Lengths of 0: turns
  // come in the order of standings.
  virtual Turn turn(const SchedulerRequest&, Time now) {
    (void)now;
    return {};
  }

  // What is to be cached of a request that holds nothing and is about to be admitted: hidden states
  // in place of keys and values.
  virtual bool keeps_hidden(const SchedulerRequest&) { return false; }

  // A request came in; it waits.
  virtual void arrived(const SchedulerRequest&, Time now) { (void)now; }
  // It joins the batch, for the first time or again.
  virtual void admitted(const SchedulerRequest&, Time now) { (void)now; }
  // It was given so many output tokens since the last call about it. Told of
  // all that run before arrived(), prepare() and displaces(), and of the request itself before
  // preempted() and left().
  virtual void served(const SchedulerRequest&, std::int64_t tokens) { (void)tokens; }
  // It lost its place in the batch and waits again.
  virtual void preempted(const SchedulerRequest&, Time now) { (void)now; }
  // It is over, goes on elsewhere, or waits for a tool, whose return is an arrival; its slot may be
  // another's next.
  virtual void left(const SchedulerRequest&) {}
};

}  // namespace kvsim
