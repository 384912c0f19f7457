// Requests that could never run: why they are refused at once.
#include <algorithm>

#include "sim/engine/world.h"

namespace kvsim {

// Blocks that a request in a compressed form takes at most, computed again after its last but one
// token if it must be.
static std::int64_t most_form_blocks(KvForms& forms, std::int64_t prompt, std::int64_t output) {
  const KvCurve& c = forms.curve(prompt);
  const std::int64_t last = prompt + output - 1, decoding = c.decoding(last - prompt);
  const std::int64_t computing = c.computing(last);
  return forms.turn() == KvForms::Turn::left ? computing + decoding : std::max(computing, decoding);
}

const char* World::misfit(const Request& r, std::uint32_t instance) const {
  const EngineConfig& e = instances_[instance]->spec.engine;
  // With memory of others a sequence may have more blocks than its instance.
  const std::int64_t most = loans_ ? loans_->reach(instance) : e.kv_blocks;
  if (e.max_model_len > 0 && r.prompt_tokens >= e.max_model_len)
    return "prompt does not fit into max_model_len";
  const std::int64_t output = e.max_model_len > 0
                                  ? std::min(r.output_tokens, e.max_model_len - r.prompt_tokens)
                                  : r.output_tokens;
  if (!r.calls.empty() && (e.forms != nullptr || e.hybrid.on || loans_))
    return "calls a tool: with token policies, hidden states, placed tokens, grouped layers or lent "
           "memory that is not modelled";
  const std::int64_t all = r.prompt_tokens + output + returned_tokens(r.calls);
  if (!r.calls.empty() && e.max_model_len > 0 && all > e.max_model_len)
    return "prompt, output and what its tools return do not fit into max_model_len";
  const std::int64_t blocks =
      e.forms == nullptr ? e.blocks_for(all) : most_form_blocks(*e.forms, r.prompt_tokens, output);
  if (blocks > most)
    return loans_ ? "needs more KV blocks than all instances together can give it"
                  : "needs more KV blocks than the instance has";
  if (e.memory.contiguous &&
      region_blocks(e.memory, *e.memory_manager, all - output, output) > e.kv_blocks)
    return "needs a larger region of KV memory than the instance has";
  if (e.memory.lent_blocks > 0 &&
      e.blocks_for(all) + activation_blocks(e.memory, e.chunked_prefill ? 1 : all) > e.kv_blocks)
    return "needs more KV blocks and room for activations than the instance has";
  const auto watermark = static_cast<std::int64_t>(e.watermark * static_cast<double>(e.kv_blocks));
  if (e.batch.idle_watermark && e.blocks_for(all) + watermark > most)
    return "needs more KV blocks than the watermark leaves";
  const BatchReserve reserve = e.batch.reserve;
  if ((reserve == BatchReserve::output || reserve == BatchReserve::estimate) &&
      e.blocks_for(all - output + std::max(output, e.batch.output_limit)) + watermark + 2 >
          e.kv_blocks)
    return "asks for more KV blocks than can be promised to anybody";
  const std::int64_t longest = r.calls.empty() ? r.prompt_tokens : all;  // prompt at once
  if (!e.chunked_prefill && longest > e.max_batched_tokens)
    return "prompt exceeds the token budget and chunked prefill is off";
  return nullptr;
}

}  // namespace kvsim
