#include "sim/run/build_speculation.h"

#include <fmt/format.h>

#include <algorithm>

#include "models/transformer_work.h"
#include "sim/engine/speculation.h"
#include "sim/run/build_tokens.h"
#include "sim/run/place_of.h"

namespace kvsim {

namespace {

class SpeculationBuilder {
 public:
  SpeculationBuilder(BuiltRun& run, const Tree& scenario, Diagnostics& d)
      : run_(run), scenario_(scenario), d_(d) {}

  void build() {
    const EngineSpec& e = run_.scenario.engine;
    if (e.shared_prefix_attention) build_shared();
    if (e.speculative) build_speculative(*e.speculative);
  }

 private:
  void error(const std::string& path, const std::string& message, const std::string& hint) {
    d_.add(place_of(scenario_, path), path, message, hint);
  }
  // Both need the places of every token.
  void check_memory(const std::string& key) {
    if (has_token_policies(run_.scenario))
      error(key, "token policies change which tokens attention reads",
            "remove cache.token_policies, or this key");
    if (run_.scenario.cache.memory.name != "paged")
      error(key, fmt::format("cache.memory is {}", run_.scenario.cache.memory.name),
            "it needs paged memory: remove cache.memory, or this key");
    if (run_.engine.hybrid.on)
      error(key, "layers of this model share memory although they keep different tokens",
            "set cache.hybrid.allocation: uniform, or remove this key");
  }
  void check_cost(const std::string& key, bool prices) {
    if (!prices)
      error(key, fmt::format("cost model {} has no price for it", run_.scenario.cost.name),
            "set cost.model: roofline, or remove this key");
  }

  void build_shared() {
    const std::string key = "engine.shared_prefix_attention";
    check_cost(key, run_.cost->shares_prefixes());
    check_memory(key);
    if (run_.scenario.cache.prefix.index == PrefixIndex::none)
      error(key, "without a prefix index no two requests share a block",
            "set cache.prefix.index: hash or radix");
    run_.engine.shared_prefix_attention = true;
  }

  void build_speculative(const SpeculativeSpec& s) {
    const std::string key = "engine.speculative";
    check_cost(key, run_.cost->verifies_drafts());
    check_memory(key);
    if (run_.parallel.data > 1)
      error(key, "data-parallel ranks in lock-step would draft together",
            "set deployment.parallel.data: 1 and give replicas instead");
    if (!s.draft.is_null() && s.draft_time)
      error(key + ".draft_time", "the draft model says what a draft takes",
            "remove draft or draft_time");
    if (run_.scenario.engine.batch.carries_fractions)
      error(key, "batch.carries_fractions is a rule of a simulator without drafts",
            "set engine.batch.carries_fractions: false");
    SpeculationRules rules;
    rules.tokens = s.tokens;
    if (s.tree.empty()) {
      for (const std::vector<double>& a : s.acceptance.chances) {
        rules.acceptance.push_back(a.front());
        if (a.size() > 1)
          error(key + ".acceptance", "a chain of drafts has no branches",
                "give one number a position, or engine.speculative.tree");
      }
    } else if (!plant_tree(s, rules)) {
      return;
    }
    rules.proposes = s.proposes;
    rules.most_running = s.most_running;
    rules.draft_time = s.draft_time.value_or(Duration{0});
    rules.seed = run_.scenario.seed;
    if (s.draft.is_null()) {
      run_.speculation = std::make_unique<Speculation>(std::move(rules));
    } else if (!add_draft_model(s, std::move(rules))) {
      return;
    }
    run_.engine.speculation = run_.speculation.get();
  }

  // Drafts by level, and the chance that one of a level is right.
  bool plant_tree(const SpeculativeSpec& s, SpeculationRules& rules) {
    constexpr std::int64_t kMost = 64;  // drafts, as of chains
    std::int64_t wide = 1;
    rules.tokens = 0;
    for (std::size_t i = 0; i < s.tree.size() && rules.tokens <= kMost; ++i) {
      rules.levels.push_back(wide *= s.tree[i]);
      rules.tokens += wide;
      const auto& all = s.acceptance.chances;
      const std::vector<double>& by = all[std::min(i, all.size() - 1)];
      double wrong = 1;
      for (std::size_t b = 0; b < static_cast<std::size_t>(s.tree[i]); ++b) {
        if (by.size() == 1)
          wrong *= 1 - by.front();
        else if (b < by.size())
          wrong -= by[b];
      }
      rules.acceptance.push_back(std::clamp(1 - wrong, 0.0, 1.0));
    }
    if (rules.tokens > kMost) {
      error("engine.speculative.tree", fmt::format("more than {} drafts", kMost),
            "fewer levels or branches: [4, 2, 1] is 4 + 8 + 8 drafts");
      return false;
    }
    const Tree* given = scenario_.find("engine")->find("speculative")->find("tokens");
    if (given != nullptr && s.tokens != rules.tokens) {
      error("engine.speculative.tokens",
            fmt::format("{} drafts, but the tree has {}", s.tokens, rules.tokens), "remove tokens");
      return false;
    }
    run_.scenario.engine.speculative->tokens = rules.tokens;
    return true;
  }

  bool add_draft_model(const SpeculativeSpec& s, SpeculationRules rules) {
    const std::string key = "engine.speculative.draft";
    const std::size_t before = d_.all().size();
    run_.draft = build_model(s.draft, run_.base_dir, key, d_);
    if (run_.parallel.pipeline > 1)
      error(key, "a draft model runs in one stage", "set deployment.parallel.pipeline: 1");
    if (d_.all().size() != before) return false;
    Precision precision = run_.precision;
    precision.weights = run_.draft->weights;
    try {
      check_split(*run_.draft, run_.parallel);
      auto work = std::make_unique<TransformerWork>(*run_.draft, run_.parallel, precision);
      if (work->facts().windows[0] > 0)
        throw InputError("draft models whose layers have windows are not priced",
                         "choose one with full attention");
      const Tree none = Tree::map();
      const bool same = run_.scenario.cost.name == "roofline";
      auto cost = Registry::instance().make<CostModel>(
          "roofline", same ? run_.scenario.cost.params : none,
          {work.get(), &run_.device, &run_.interconnect, run_.parallel, run_.base_dir, &run_.node,
           &run_.storage, static_cast<double>(bits(precision.kv))});
      run_.speculation =
          std::make_unique<Speculation>(std::move(rules), std::move(work), std::move(cost));
    } catch (const InputError& e) {
      for (const Diagnostic& one : e.all()) error(key, one.message, one.hint);
      return false;
    }
    return true;
  }

  BuiltRun& run_;
  const Tree& scenario_;
  Diagnostics& d_;
};

}  // namespace

void build_speculation(BuiltRun& run, const Tree& scenario, Diagnostics& d) {
  SpeculationBuilder(run, scenario, d).build();
}

void make_room_for_draft(const BuiltRun& run, MemoryPlan& plan) {
  if (!run.draft) return;
  Precision precision = run.precision;
  precision.weights = run.draft->weights;
  const auto block = [&](const ModelSpec& m) {
    return kv_block_bytes(m, run.parallel, precision.kv, plan.block_tokens);
  };
  plan.other =
      other_memory_estimate(run.parallel) + rank_weight_bytes(*run.draft, run.parallel, precision);
  plan.block = block(run.model) + block(*run.draft);
}

}  // namespace kvsim
