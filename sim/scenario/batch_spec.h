#pragma once
// `engine.batch`: how an engine composes an iteration. Presets set it; field texts are the manual.
#include <array>
#include <cstdint>

#include "sim/base/fields.h"
#include "sim/base/quantity.h"

namespace kvsim {

enum class BatchOrderSpec : std::uint8_t { mixed, decodes_first, prompts_first };
constexpr auto enum_names(BatchOrderSpec) {
  return std::array{std::pair{BatchOrderSpec::mixed, "mixed"},
                    std::pair{BatchOrderSpec::decodes_first, "decodes-first"},
                    std::pair{BatchOrderSpec::prompts_first, "prompts-first"}};
}

enum class BatchReserveSpec : std::uint8_t { none, prompt, output, estimate };
constexpr auto enum_names(BatchReserveSpec) {
  return std::array{std::pair{BatchReserveSpec::none, "none"},
                    std::pair{BatchReserveSpec::prompt, "prompt"},
                    std::pair{BatchReserveSpec::output, "output"},
                    std::pair{BatchReserveSpec::estimate, "estimate"}};
}

enum class BatchVictimSpec : std::uint8_t { last, fewest_outputs };
constexpr auto enum_names(BatchVictimSpec) {
  return std::array{std::pair{BatchVictimSpec::last, "last"},
                    std::pair{BatchVictimSpec::fewest_outputs, "fewest-outputs"}};
}

struct BatchSpec {
  BatchOrderSpec order = BatchOrderSpec::mixed;
  BatchReserveSpec reserve = BatchReserveSpec::none;
  BatchVictimSpec victim = BatchVictimSpec::last;
  Ratio estimate{0.7}, estimate_floor{0.098};
  std::int64_t estimate_steps = 600, output_limit = 0;
  bool alternates = false, pads_prompts = false, needs_free_block = false, idle_watermark = false;
  bool displaced_last = false, restarts_shorter = false, null_block = true;
  bool carries_fractions = false;
  static constexpr Rows kFields{
      field(
          "order", &BatchSpec::order, any,
          "mixed: the running list as it stands, then who waits (vLLM v1); decodes-first: decodes, "
          "pieces of prompts, who waits (Sarathi-Serve); prompts-first: an iteration computes "
          "prompts or, when there are none, decodes (vLLM before chunked prefill, SGLang)"),
      field(
          "reserve", &BatchSpec::reserve, any,
          "memory promised at admission: none; prompt: blocks of the whole prompt are taken; "
          "output: nobody is admitted who may have to make way (TensorRT-LLM); estimate: the same "
          "with a share of the output that is learned (SGLang's new-token ratio)"),
      field("victim", &BatchSpec::victim, any,
            "whose KV goes when a decode finds no block: the last of the running list, or who has "
            "produced least (SGLang's retraction); a scheduler that ranks who runs decides itself"),
      field("estimate", &BatchSpec::estimate, between(Ratio{0}, Ratio{1}),
            "share of its remaining output that a running request is taken to need, at first"),
      field("estimate_floor", &BatchSpec::estimate_floor, between(Ratio{0}, Ratio{1}),
            "the share that it falls to"),
      field("estimate_steps", &BatchSpec::estimate_steps, between<std::int64_t>(1, 1 << 30),
            "iterations of decodes in which it falls so far"),
      field("output_limit", &BatchSpec::output_limit, between<std::int64_t>(0, 1 << 30),
            "output tokens that every request asks for, which reserve counts with; 0 = as many as "
            "it produces"),
      field("alternates", &BatchSpec::alternates, any,
            "of prompts-first: an iteration of decodes follows each of prompts"),
      field("pads_prompts", &BatchSpec::pads_prompts, any,
            "every prompt of an iteration counts against the budget like its longest (vLLM 0.2)"),
      field("needs_free_block", &BatchSpec::needs_free_block, any,
            "a decode takes part only while a block is free, whether it needs one or not (vLLM "
            "before v1)"),
      field("idle_watermark", &BatchSpec::idle_watermark, any,
            "the watermark holds even while nothing runs"),
      field("displaced_last", &BatchSpec::displaced_last, any,
            "a preempted request goes behind those that wait (SGLang), not before them"),
      field(
          "restarts_shorter", &BatchSpec::restarts_shorter, any,
          "who is preempted within its prompt takes what was computed for its prompt and produces "
          "the rest (Vidur)"),
      field("null_block", &BatchSpec::null_block, any,
            "one of kv_blocks is the engine's own (vLLM v1)"),
      field("carries_fractions", &BatchSpec::carries_fractions, any,
            "what rounding an iteration to nanoseconds leaves is carried to the next (Vidur, whose "
            "clock is a real number)")};
};

}  // namespace kvsim
