#pragma once
// How an engine composes an iteration, whoever goes first: what distinguishes the engines before
// and beside vLLM v1 (sim/scenario/presets).
#include <cstdint>

namespace kvsim {

// Who is looked at first when an iteration is planned.
enum class BatchOrder : std::uint8_t {
  running,  // the running list as it stands, decodes and pieces of prompts; then who waits (vLLM
            // v1)
  decodes,  // decodes, pieces of running prompts, who waits, even after a preemption
            // (Sarathi-Serve)
  prompts   // prompts; decodes only in an iteration without any (vLLM before chunks, SGLang)
};

// Memory that is promised to a request with its admission.
enum class BatchReserve : std::uint8_t {
  none,     // blocks come as tokens do
  prompt,   // blocks of all its known tokens are taken at once, though they are computed in pieces
  output,   // it is admitted when all will fit whatever the running ones still produce: nobody has
            // to make way (TensorRT-LLM's guaranteed no evict)
  estimate  // the same with a share of what they may still produce, learned from retractions
            // (SGLang)
};

// Whose KV goes when a decode finds no block, unless the scheduler ranks who runs.
enum class BatchVictim : std::uint8_t {
  last,           // in the running list
  fewest_outputs  // fewest output tokens, then the longest prompt (SGLang's retraction)
};

struct BatchRules {
  BatchOrder order = BatchOrder::running;
  BatchReserve reserve = BatchReserve::none;
  BatchVictim victim = BatchVictim::last;
  // Share of its remaining output that a running request is taken to need (estimate): from
  // `estimate` it falls by even steps, one an iteration of decodes, to `estimate_floor`.
  double estimate = 0.7, estimate_floor = 0.098;
  std::int64_t estimate_steps = 600;
  std::int64_t output_limit = 0;  // output tokens that every request asks for (output, estimate);
                                  // 0 = those that it produces
  bool pads_prompts = false;      // each prompt of an iteration counts like its longest
  bool needs_free_block = false;  // a decode takes part only while a block is free, due or not
  bool alternates = false;        // after prompts an iteration of decodes (prompts only)
  bool idle_watermark = false;    // the watermark holds even while nothing runs
  bool displaced_last = false;    // a preempted request goes behind those that wait
  bool restarts_shorter = false;  // preempted within its prompt, it takes what was computed for its
                                  // prompt, and produces the rest (Vidur)
  bool carries_fractions = false;  // the end of an iteration is rounded to a nanosecond, not its
                                   // duration: what is over goes to the next (Vidur's clock is a
                                   // real number)
};

}  // namespace kvsim
