#include "sim/run/build_tokens.h"

#include <fmt/format.h>

#include <algorithm>

#include "hardware/roofline.h"
#include "models/geometry.h"
#include "sim/run/build_tiers.h"

namespace kvsim {
namespace {

constexpr const char* kKey = "cache.token_policies";
double d(std::int64_t v) { return static_cast<double>(v); }

class TokenBuilder {
 public:
  TokenBuilder(BuiltRun& run, const Tree& scenario, Diagnostics& d)
      : run_(run), scenario_(scenario), d_(d) {}

  std::unique_ptr<TokenForms> build() {
    const std::size_t before = d_.all().size();
    const auto policies = read_token_policies(run_.scenario, d_);
    if (!policies || d_.all().size() != before) return nullptr;
    run_.scenario.cache.token_policies = token::write_token_policies(*policies);
    check(*policies);
    if (d_.all().size() != before) return nullptr;
    const TokenRates r = rates(*policies);
    if (d_.all().size() != before) return nullptr;
    return std::make_unique<TokenForms>(
        *policies,
        token_shape(run_.model, run_.precision.kv, run_.engine.block_tokens, run_.parallel.tensor),
        r, run_.engine.prefix_caching, run_.scenario.cache.prefix.keep_exact);
  }

 private:
  void error(const std::string& message, const std::string& hint, const std::string& section = {}) {
    const Tree* cache = scenario_.find("cache");
    const Tree* list = cache != nullptr ? cache->find("token_policies") : nullptr;
    const Tree* at = list != nullptr ? list : &scenario_;
    // The item that names the section, where one does.
    if (list != nullptr && list->is_list())
      for (const Tree& item : list->items())
        if (at == list && item.is_map() && item.find(section) != nullptr) at = &item;
    d_.add(at->place(), section.empty() ? kKey : fmt::format("{}.{}", kKey, section), message,
           hint);
  }

  void check(const token::TokenPolicies& p) {
    token::Surroundings around;
    const CacheSpec& cache = run_.scenario.cache;
    around.shape = token_shape(run_.model, run_.precision.kv, run_.engine.block_tokens);
    around.latent = run_.model.mla.has_value();
    around.prefix_sharing = run_.engine.prefix_caching;
    around.chunked_prefill = run_.engine.chunked_prefill;
    around.per_head_lists = cache.block_lists == BlockLists::head;
    around.recompute = run_.scenario.engine.preemption.mode == PreemptionMode::recompute;
    around.tensor_parallel = run_.parallel.tensor;
    if (run_.node.host_memory > Bytes{0}) {
      const std::int64_t ranks = instances_per_node(run_) * run_.parallel.data;
      around.host_bytes = to_double(run_.node.host_memory) / d(std::max<std::int64_t>(1, ranks));
      around.longest = *run_.scenario.engine.max_model_len;
    }
    for (const token::Finding& f : token::check_composition(p, around)) {
      if (f.error)
        error(f.text, f.hint, f.section);
      else
        run_.notes.push_back(
            fmt::format("{}.{}: {} (rule {} of policies/token)", kKey, f.section, f.text, f.rule));
    }
    check_model(p);
    if (cache.memory.name != "paged")
      error(fmt::format("compressed KV lies in pages, but cache.memory is {}", cache.memory.name),
            "set cache.memory: paged");
    if (run_.cost != nullptr && run_.cost->offload() != nullptr)
      error("the cost model keeps KV off the GPU by itself, uncompressed or in its own codes",
            "use another cost model, such as roofline");
  }

  // Methods that pick tokens speak of layers that keep all of them.
  void check_model(const token::TokenPolicies& p) {
    const ModelSpec& m = run_.model;
    const auto layers = layers_of(m);
    if (std::none_of(layers.begin(), layers.end(), [](const Layer& l) { return l.owns_kv; }))
      return error("model " + m.name + " caches no keys and values", "leave token policies out");
    const bool picks = p.select || p.retrieve || p.merge;
    if (!picks) return;
    const char* section = p.select ? "select" : (p.retrieve ? "retrieve" : "merge");
    for (const Layer& l : layers) {
      if (l.window > 0)
        return error(fmt::format("layers of {} attend to {} tokens and keep no more of them",
                                 m.name, l.window),
                     "quantize or low-rank alone, or a model without windows", section);
      if (l.attention == AttentionKind::recurrent)
        return error(fmt::format("layers of {} have a state in place of tokens", m.name),
                     "quantize or low-rank alone, or a model of attention layers", section);
      if (!l.owns_kv)
        return error(fmt::format("layers of {} read the cache of other layers", m.name),
                     "quantize or low-rank alone, or a model whose layers have their own", section);
    }
    if (around_pipeline(p))
      run_.notes.push_back(fmt::format(
          "{}.{}: pipeline stages hold different numbers of tokens; their mean is counted", kKey,
          section));
  }
  [[nodiscard]] bool around_pipeline(const token::TokenPolicies& p) const {
    return run_.parallel.pipeline > 1 && p.budget && p.budget->by.name != "uniform";
  }

  TokenRates rates(const token::TokenPolicies& p) {
    const DeviceSpec& dev = run_.device;
    const Efficiency& e = dev.efficiency;
    TokenRates r;
    r.matrix_flops = peak_rate(dev, "auto", 16) * e.attention;
    // Comparisons, scales and sums run beside the matrix units.
    const auto fp32 = dev.compute.find("fp32");
    r.vector_flops = (fp32 != dev.compute.end() ? fp32->second.value : r.matrix_flops / 8) * 0.5;
    r.kv_bytes = dev.bandwidth.value * e.kv_memory;
    r.memory_bytes = dev.bandwidth.value * e.memory;
    r.launch_ns = to_ns(e.launch);
    const bool off = p.retrieve && p.retrieve->home != token::Home::gpu;
    if (!off) return r;
    const LinkSpec& link = host_link(run_.node, run_.device);
    r.link_bytes = link.bandwidth.value;
    r.link_half = to_double(link.chunk_half);
    r.link_ns = to_ns(link.latency);
    if (!(r.link_bytes > 0))
      error("KV lies off the GPU, and its link to the host is not known",
            "name a node (kvsim list nodes), or give deployment.hardware a host_link", "retrieve");
    if (p.retrieve->home == token::Home::cpu_compute)
      r.far_bytes = run_.node.memory_link.bandwidth.value * std::max(1, run_.node.sockets);
    if (p.retrieve->home == token::Home::ssd_compute)
      for (const StorageUse& use : run_.node.storage)
        r.far_bytes += run_.storage.at(use.device).read_bandwidth.value * use.count;
    const int sharing = std::max(1, instances_per_node(run_)) * run_.parallel.data;
    r.far_bytes /= sharing;
    const bool computes = p.retrieve->home != token::Home::cpu_fetch;
    if (computes && !(r.far_bytes > 0))
      error("attention runs where the KV lies, and how fast that is read is not known",
            p.retrieve->home == token::Home::ssd_compute
                ? "name a node with drives (kvsim list nodes)"
                : "name a node with a memory_link (kvsim list nodes)",
            "retrieve");
    return r;
  }

  BuiltRun& run_;
  const Tree& scenario_;
  Diagnostics& d_;
};

}  // namespace

bool has_token_policies(const Scenario& s) {
  const Tree& given = s.cache.token_policies;
  return !given.is_null() && !(given.is_list() && given.items().empty());
}

std::optional<token::TokenPolicies> read_token_policies(const Scenario& s, Diagnostics& d) {
  if (!has_token_policies(s)) return std::nullopt;
  const Tree& given = s.cache.token_policies;
  Reader r(d);
  const Reader::Scope cache(r, "cache");
  const Reader::Scope key(r, "token_policies");
  token::TokenPolicies p = token::read_token_policies(given, r);
  const bool anything = p.select || p.retrieve || p.budget || p.merge || p.low_rank || p.quantize;
  if (!anything) return std::nullopt;
  return p;
}

token::KvShape token_shape(const ModelSpec& m, Dtype kv, std::int64_t block_tokens, int tensor) {
  token::KvShape s;
  s.layers = stage_kv_layers(m, 1).front();
  s.q_heads = std::max<std::int64_t>(1, m.heads / tensor);
  s.kv_heads = std::max<std::int64_t>(1, m.kv_head_count() / tensor);
  s.k_dim = m.head_width();
  s.v_dim = m.value_width();
  if (m.mla) {
    s.kv_heads = 1;
    s.k_dim = m.mla->kv_lora_rank;
    s.v_dim = m.mla->qk_rope_head_dim;
  }
  s.element_bits = bits(kv);
  s.block_tokens = block_tokens;
  return s;
}

std::unique_ptr<TokenForms> build_tokens(BuiltRun& run, const Tree& scenario, Diagnostics& d) {
  return TokenBuilder(run, scenario, d).build();
}

}  // namespace kvsim
