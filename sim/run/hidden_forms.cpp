#include "sim/run/hidden_forms.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "hardware/roofline.h"
#include "models/geometry.h"
#include "sim/run/build_tokens.h"
#include "sim/run/conflict.h"

namespace kvsim {

HiddenForms::HiddenForms(std::int64_t kv, std::int64_t hidden, double project_ns)
    : kv_(kv),
      hidden_(hidden),
      project_(std::llround(project_ns * static_cast<double>(kLoadOne))) {}

// A block more whenever the last is full; attention reads every token and the new one.
KvCurve HiddenForms::draw(std::int64_t prompt, std::int64_t block_tokens,
                          std::int64_t project) const {
  KvCurve c;
  c.token = kLoadOne;
  c.block = kLoadOne * block_tokens;
  c.history = project;
  KvPhase p;
  p.blocks = c.computing(prompt);
  p.period = block_tokens;
  p.offset = block_tokens - 1 - (p.blocks * block_tokens - prompt);
  const auto grows = [&](TokenLoad l, std::int64_t level, std::int64_t slope) {
    p.level[static_cast<std::size_t>(l)] = level;
    p.slope[static_cast<std::size_t>(l)] = slope;
  };
  grows(TokenLoad::context, (prompt + 1) * kLoadOne, kLoadOne);
  grows(TokenLoad::full, prompt * kLoadOne, kLoadOne);
  const std::int64_t kept = kLoadOne * kv_ / block_tokens;
  grows(TokenLoad::kept, prompt * kept, kept);
  if (project > 0) grows(TokenLoad::restore, prompt * project, project);
  c.phases.push_back(p);
  return c;
}

const KvCurve& HiddenForms::curve(std::int64_t prompt) {
  const auto [at, fresh] = plain_.try_emplace(prompt);
  if (fresh) at->second = draw(prompt, kv_, 0);
  return at->second;
}

const KvCurve* HiddenForms::hidden(std::int64_t prompt) {
  if (hidden_ <= kv_) return nullptr;
  const auto [at, fresh] = inputs_.try_emplace(prompt);
  if (fresh) at->second = draw(prompt, hidden_, project_);
  return &at->second;
}

namespace {

constexpr const char* kKey = "cache.hidden_states";

const char* unfit_layers(const ModelSpec& m) {
  if (m.mla) return "a latent is smaller than the hidden state that it is made of";
  for (const Layer& l : layers_of(m)) {
    if (l.attention == AttentionKind::recurrent)
      return "the model has layers with a state, which no hidden state brings back";
    if (!l.owns_kv) return "layers read the cache of other layers";
  }
  return nullptr;
}

}  // namespace

double projection_ns(const BuiltRun& run) {
  const ModelSpec& m = run.model;
  const Efficiency& e = run.device.efficiency;
  const double element = bits(run.precision.activations) / 8.0;
  const auto width = static_cast<double>(m.hidden);
  const auto numbers = static_cast<double>(kv_elements(m, run.parallel.tensor));
  const double rate = peak_rate(run.device, "auto", bits(run.precision.weights)) * e.gemm;
  const double layer =
      std::max(2 * width * numbers / rate,
               (width + numbers) * element / (run.device.bandwidth.value * e.memory)) *
      1e9;
  return layer * static_cast<double>(stage_kv_layers(m, 1).front());
}

std::unique_ptr<HiddenForms> build_hidden_forms(BuiltRun& run, const Tree& scenario,
                                                Diagnostics& d) {
  if (!run.scenario.cache.hidden_states) return nullptr;
  const Scenario& s = run.scenario;
  const EngineConfig& c = run.engine;
  const char* unfit = unfit_layers(run.model);
  const bool fits_in = check_conflicts(
      {{unfit != nullptr, unfit, "remove it"},
       {c.prefix_caching, "blocks of hidden states serve no other request",
        "set cache.prefix.index: none"},
       {has_token_policies(s), "token policies keep keys and values", "remove one of the two"},
       {c.hybrid.on, "layers that keep different things have no common hidden state",
        "set cache.hybrid.allocation: uniform"},
       {s.cache.memory.name != "paged", "both forms lie in pages", "set cache.memory: paged"},
       {s.cache.tiers.size() > 1, "tiers below the GPU keep keys and values",
        "keep only the tier gpu"},
       {run.cost != nullptr && run.cost->offload() != nullptr,
        "the cost model keeps KV off the GPU by itself", "use another cost.model"},
       {s.engine.speculative.has_value(), "drafts are verified against keys and values",
        "remove engine.speculative"},
       {s.engine.pipeline_batches.has_value() && run.parallel.pipeline > 1,
        "batches in flight are counted in keys and values", "remove engine.pipeline_batches"},
       {s.engine.preemption.mode == PreemptionMode::swap,
        "whoever changes what it keeps is computed again", "set engine.preemption: recompute"},
       {s.engine.preemption.part != PreemptedPart::request,
        "a part of a request is of keys and values", "set engine.preemption.part: request"},
       {!s.deployment.pools.empty(), "what moves between pools is keys and values",
        "remove deployment.pools"}},
      "", scenario, kKey, d);
  if (!fits_in) return nullptr;
  const ModelSpec& m = run.model;
  const double element = bits(run.precision.activations) / 8.0;
  const double row = static_cast<double>(m.hidden) * element;
  const double kv = to_double(kv_layer_bytes(m, bits(run.precision.kv), run.parallel.tensor));
  const auto fits =
      static_cast<std::int64_t>(static_cast<double>(c.block_tokens) * kv / row + 1e-9);
  if (fits <= c.block_tokens)
    run.notes.push_back(fmt::format(
        "{}: a hidden state takes {:.0f} bytes a layer, keys and values {:.0f}: nobody "
        "will keep it (heads that are shared, or split over GPUs, leave nothing to gain)",
        kKey, row, kv));
  return std::make_unique<HiddenForms>(c.block_tokens, fits, projection_ns(run));
}

}  // namespace kvsim
