#pragma once
// Who asks when: the contract between a trace (file or generator) and the engine.
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "sim/base/quantity.h"
#include "sim/base/random.h"
#include "sim/base/time.h"
#include "sim/base/tool_call.h"
#include "sim/base/tree.h"

namespace kvsim {

// A run of consecutive tokens with an identity. `key` names the whole content from the start of the
// sequence to the end of this run (chained): two sequences that carry the same key hold the same
// tokens up to there, at the same positions. Unknown content gets a key that nobody else has.
struct Segment {
  std::uint64_t key = 0;
  std::int64_t tokens = 0;
};

// A run of a prompt's tokens that an encoder makes of an image (or of sound, video). Equal hashes
// are equal images.
struct Image {
  std::uint64_t hash = 0;
  std::int64_t first = 0, tokens = 0;  // the run's first token, from 0
};

// One request. `segments` cover the prompt first and may go on over the output where its content is
// known (their tokens sum to prompt_tokens, or to prompt_tokens + output_tokens; with block-wise
// keys a segment may straddle the border between the two). With tool calls, what follows the prompt
// is all of its output and of what the tools return, in order.
struct Request {
  std::uint64_t index = 0;  // order of delivery, from 0
  Time arrival{};
  std::int64_t prompt_tokens = 0;  // >= 1
  std::int64_t output_tokens = 0;  // >= 1
  std::uint64_t session = 0;       // 0 = none
  std::uint32_t turn = 0;          // from 0 within the session
  std::uint32_t tenant = 0;
  std::int32_t priority = 0;  // lower is served first
  std::vector<Segment> segments;
  // In order; after the last of them at least one output token is produced.
  std::vector<ToolCall> calls;
  std::vector<Image> images{};  // in order of their tokens, all within the prompt
  std::string adapter{};        // that it names; empty = the base model, or nothing is said
  // The exact arrival, where a trace knows it, is so many 2^-24 ns later (or earlier): at most half
  // a nanosecond.
  std::int32_t arrival_fraction = 0;
};

// Delivers requests in order of arrival, one ahead. Closed-loop sources hear completions and then
// know more.
class TraceSource {
 public:
  using Contract = TraceSource;
  static constexpr const char* kKind = "trace-format";
  struct Context {
    std::string path;                // of the file; relative paths are already resolved
    std::int64_t block_tokens = 16;  // grain at which token-id traces are hashed
    bool lenient = false;            // count and skip broken records instead of stopping
    std::uint64_t seed = 0;
    double rate_scale = 1.0;  // arrivals come this many times faster
    std::int64_t limit = 0;   // stop after this many requests; 0 = no limit
    // Keys are the ids of the file as they stand, where an id names a whole prefix (mooncake):
    // for policies that hash ids, and users who look for theirs. One trace at a time.
    bool raw_ids = false;
  };
  // What was left out: broken records in lenient mode, and records a format leaves out by its own
  // rule.
  struct Skipped {
    std::uint64_t records = 0;
    std::string first_reason;     // "file:line: reason"
    std::uint64_t reordered = 0;  // arrivals moved up to the one before (lenient mode)
  };

  virtual ~TraceSource() = default;
  // Arrival of the next request known now, or nothing: then more may follow once a request in
  // flight finishes; with none in flight the source is exhausted. A completion may bring an earlier
  // one (never before it). Throws InputError for a broken record (strict mode), naming file and
  // line.
  virtual std::optional<Time> next_arrival() = 0;
  // The request next_arrival() spoke of. `out`'s vectors are reused.
  virtual void pop(Request& out) = 0;
  // Request `index` is over (finished, rejected or timed out) at `at`.
  virtual void finished(std::uint64_t index, Time at) { (void)index, (void)at; }
  [[nodiscard]] virtual Skipped skipped() const { return {}; }
  // Requests this source will deliver in all, if it knows (for progress).
  [[nodiscard]] virtual std::optional<std::uint64_t> total() const { return std::nullopt; }
};

}  // namespace kvsim
