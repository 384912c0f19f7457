#include "sim/run/placed_forms.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "models/geometry.h"
#include "sim/run/build_tiers.h"
#include "sim/run/build_tokens.h"
#include "sim/run/conflict.h"
#include "sim/run/hidden_forms.h"
#include "sim/run/place_of.h"

namespace kvsim {
namespace {

constexpr const char* kKey = "cache.placement";
constexpr std::int64_t kFar = 1 << 14;  // steps over which a slope without an end is taken
double d(std::int64_t n) { return static_cast<double>(n); }

}  // namespace

PlacedForms::PlacedForms(std::unique_ptr<TokenPlacement> placement, std::int64_t room_blocks,
                         std::int64_t block_tokens, std::int64_t layers, std::int64_t token_bytes,
                         const Rates& rates)
    : placement_(std::move(placement)),
      room_(room_blocks * block_tokens),
      block_tokens_(block_tokens),
      rates_(rates) {
  ahead_ = placement_->overlaps();
  layers_ = std::max<std::int64_t>(1, layers);
  token_bytes_ = token_bytes;
  step_ns_ = layers_ * rates.link_latency_ns;
}

TokenLoads PlacedForms::loads(std::int64_t prompt, std::int64_t generated) {
  const PlacedTokens t = placement_->at(prompt, generated);
  const double share = placement_->host_share();
  TokenLoads out{};
  const auto set = [&](TokenLoad l, double v) {
    out[static_cast<std::size_t>(l)] = std::max<std::int64_t>(0, std::llround(v * d(kLoadOne)));
  };
  set(TokenLoad::context, t.read);
  set(TokenLoad::score, 2 * t.read * rates_.pass);  // gathered to lie side by side
  set(TokenLoad::fetch, (t.fetched + t.stored) * rates_.link * share);
  set(TokenLoad::restore, t.recomputed * placement_->recompute_ns());
  set(TokenLoad::encode, share < 1 ? (t.fetched + t.stored) * rates_.pass : 0);
  set(TokenLoad::kept, t.gpu + t.host * share);
  set(TokenLoad::full, d(prompt + generated));
  return out;
}

KvPhase PlacedForms::phase(std::int64_t prompt, std::int64_t from, std::int64_t until) {
  KvPhase p;
  p.from = from;
  const std::int64_t n = std::min(prompt + from, room_);
  p.blocks = (n + block_tokens_ - 1) / block_tokens_;
  if (n < room_) {
    p.period = block_tokens_;
    p.offset = block_tokens_ - 1 - (p.blocks * block_tokens_ - n);
  }
  p.level = loads(prompt, from);
  const std::int64_t span = std::max<std::int64_t>(1, until - 1 - from);
  const TokenLoads last = until - 1 > from ? loads(prompt, from + span) : p.level;
  for (std::size_t i = 0; i < kTokenLoads; ++i) p.slope[i] = (last[i] - p.level[i]) / span;
  return p;
}

KvCurve PlacedForms::draw(std::int64_t prompt) {
  KvCurve c;
  c.token = kLoadOne;
  c.block = kLoadOne * block_tokens_;
  c.most = room_ / block_tokens_;
  std::vector<std::int64_t> bends = placement_->bends(prompt);
  if (prompt < room_) bends.push_back(room_ - prompt);
  bends.push_back(0);
  std::sort(bends.begin(), bends.end());
  bends.erase(std::unique(bends.begin(), bends.end()), bends.end());
  for (std::size_t i = 0; i < bends.size(); ++i)
    c.phases.push_back(
        phase(prompt, bends[i], i + 1 < bends.size() ? bends[i + 1] : bends[i] + kFar));
  return c;
}

const KvCurve& PlacedForms::curve(std::int64_t prompt) {
  const auto [at, fresh] = curves_.try_emplace(prompt);
  if (fresh) at->second = draw(prompt);
  return at->second;
}

PieceLoads PlacedForms::piece(std::int64_t, const PrefillPiece& p, PrefillPiece&) {
  const auto off = [&](std::int64_t n) { return d(std::max<std::int64_t>(0, n - room_)); };
  const double before = off(p.history), stored = off(p.history + p.tokens) - before;
  const double share = placement_->host_share();
  PieceLoads loads;
  loads.link_ns = std::llround((before + stored) * rates_.link * share);
  if (share < 1) loads.gpu_ns = std::llround((before + stored) * rates_.pass);
  return loads;
}

namespace {

// Prompts of one length, where the workload has such.
std::optional<std::int64_t> only_prompt(const Scenario& s) {
  const Tree& g = s.workload.generate;
  const Tree* prompt = g.is_map() ? g.find("prompt") : nullptr;
  const Tree* value = prompt != nullptr && prompt->is_map() ? prompt->find("value") : nullptr;
  if (value == nullptr || !value->is_scalar()) return std::nullopt;
  Diagnostics ignored;
  Reader r(ignored);
  std::int64_t n = 0;
  if (!Codec<std::int64_t>::read(*value, n, r)) return std::nullopt;
  return n;
}

bool is_whole_kv(const ModelSpec& m) {
  const auto layers = layers_of(m);
  return !m.mla && std::all_of(layers.begin(), layers.end(), [](const Layer& l) {
    return l.attention == AttentionKind::full && l.owns_kv;
  });
}

class PlacementBuilder {
 public:
  PlacementBuilder(BuiltRun& run, const Tree& scenario, Diagnostics& d)
      : run_(run), scenario_(scenario), d_(d) {}

  std::unique_ptr<PlacedForms> build() {
    const Choice<"placement", "policy">& choice = run_.scenario.cache.placement;
    if (!make(choice, {})->places()) return nullptr;
    check();
    const EngineConfig& c = run_.engine;
    const std::int64_t blocks = c.kv_blocks / c.max_running;
    if (good_ && blocks < 1)
      error(
          fmt::format("{} blocks are not one for each of {} sequences", c.kv_blocks, c.max_running),
          "lower engine.max_running (the block of sequences that start together)");
    if (!good_) return nullptr;
    const TokenPlacement::Context context = prices(blocks * c.block_tokens);
    auto placement = make(choice, context);
    std::int64_t widest = 1;
    if (const auto prompt = only_prompt(run_.scenario)) {
      run_.notes.push_back(
          fmt::format("{}: prompts of {} tokens: {}", kKey, *prompt, placement->describe(*prompt)));
      widest = *prompt;
    }
    (void)placement->at(widest, 0);  // says what is wrong before anything runs
    PlacedForms::Rates rates;
    rates.link = context.link;
    rates.pass = context.pass;
    rates.link_latency_ns = to_ns(link().latency);
    return std::make_unique<PlacedForms>(std::move(placement), blocks, c.block_tokens,
                                         stage_kv_layers(run_.model, 1).front(),
                                         static_cast<std::int64_t>(token_bytes()), rates);
  }

 private:
  static std::unique_ptr<TokenPlacement> make(const Choice<"placement", "policy">& choice,
                                              const TokenPlacement::Context& context) {
    return Registry::instance().make<TokenPlacement>(choice.name, choice.params, context);
  }
  void error(const std::string& message, const std::string& hint) {
    d_.add(place_of(scenario_, kKey), kKey, message, hint);
    good_ = false;
  }
  [[nodiscard]] const LinkSpec& link() const { return host_link(run_.node, run_.device); }
  [[nodiscard]] double token_bytes() const {
    return to_double(kv_token_bytes(run_.model, run_.precision.kv, run_.parallel.tensor));
  }

  void check() {
    const Scenario& s = run_.scenario;
    const bool none = check_conflicts(
        {{run_.engine.prefix_caching, "what is given up or moved serves no other request",
          "set cache.prefix.index: none"},
         {has_token_policies(s), "it says itself which tokens are attended to",
          "remove cache.token_policies"},
         {s.cache.hidden_states, "it places keys and values", "remove cache.hidden_states"},
         {!is_whole_kv(run_.model), "it places tokens that every layer keeps",
          "choose a model of attention layers without windows, latents, states or shared layers"},
         {s.cache.memory.name != "paged", "it lies in pages", "set cache.memory: paged"},
         {s.cache.tiers.size() > 1, "tiers below the GPU keep what requests share",
          "keep only the tier gpu"},
         {run_.cost != nullptr && run_.cost->offload() != nullptr,
          "the cost model places KV by itself", "use another cost.model, such as roofline"},
         {s.engine.preemption.mode != PreemptionMode::recompute ||
              s.engine.preemption.part != PreemptedPart::request,
          "a preempted sequence is computed again", "remove engine.preemption"},
         {s.engine.speculative.has_value(), "a step attends for one token a sequence",
          "remove engine.speculative"},
         {run_.parallel.pipeline > 1, "stages fetch over links of their own",
          "set deployment.parallel.pipeline: 1"},
         {!(link().bandwidth.value > 0), "the link to host memory is not known",
          "name a node (kvsim list nodes), or give deployment.hardware a host_link"}},
        "", scenario_, kKey, d_);
    good_ = good_ && none;
  }

  [[nodiscard]] TokenPlacement::Context prices(std::int64_t room) {
    TokenPlacement::Context c;
    const std::int64_t block = run_.engine.max_running;
    const double bytes = token_bytes();
    c.room = room;
    const double sharing =
        d(block) * d(std::max<std::int64_t>(1, instances_per_node(run_) * run_.parallel.data));
    const double host = to_double(run_.node.host_memory);  // 0: not known, so not a limit
    c.host_room = host > 0
                      ? static_cast<std::int64_t>(host / (bytes * run_.parallel.tensor * sharing))
                      : std::int64_t{1} << 40;
    StepShape shape;
    shape.decodes = shape.padded_decodes = block;
    const auto step = [&](std::int64_t context) {
      shape.decode_context_sum = context * block;
      shape.decode_context_max = context;
      return d(to_ns(run_.cost->decode_line(shape).at(shape)));
    };
    const double one = step(1), many = step(1025);
    c.step = one / d(block);
    c.attend = std::max(0.0, (many - one) / 1024 / d(block));
    c.link = bytes / link().bandwidth.value * 1e9;
    c.pass = bytes / (run_.device.bandwidth.value * run_.device.efficiency.memory) * 1e9;
    c.project = projection_ns(run_);
    const PrefillPiece piece{1024, 0, false};
    shape = {};
    shape.prefills = {&piece, 1};
    c.forward = d(to_ns(run_.cost->mixed_step(shape))) / 1024;
    return c;
  }

  BuiltRun& run_;
  const Tree& scenario_;
  Diagnostics& d_;
  bool good_ = true;
};

}  // namespace

std::unique_ptr<PlacedForms> build_placed_forms(BuiltRun& run, const Tree& scenario,
                                                Diagnostics& d) {
  return PlacementBuilder(run, scenario, d).build();
}

}  // namespace kvsim
