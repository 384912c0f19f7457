#include "sim/run/build.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "hardware/catalog.h"
#include "hardware/topology.h"
#include "models/hf_config.h"
#include "models/transformer_work.h"
#include "sim/engine/adapters.h"
#include "sim/engine/speculation.h"
#include "sim/run/build_encoder.h"
#include "sim/run/build_faults.h"
#include "sim/run/build_host.h"
#include "sim/run/build_hybrid.h"
#include "sim/run/build_kernels.h"
#include "sim/run/build_lora.h"
#include "sim/run/build_memory.h"
#include "sim/run/build_offload.h"
#include "sim/run/build_pipeline.h"
#include "sim/run/build_pool.h"
#include "sim/run/build_pools.h"
#include "sim/run/build_speculation.h"
#include "sim/run/build_tiers.h"
#include "sim/run/build_tokens.h"
#include "sim/run/graph_sizes.h"
#include "sim/run/hidden_forms.h"
#include "sim/run/place_of.h"
#include "sim/run/placed_forms.h"
#include "sim/scenario/catalog.h"
#include "sim/scenario/yaml.h"
#include "traces/generator.h"

namespace kvsim {

namespace {

// Runs `work`, turning an InputError without a place into a diagnostic for the key `path`.
template <class Work>
void report(Diagnostics& d, const Place& place, const std::string& path, Work work) {
  try {
    work();
  } catch (const InputError& e) {
    for (const Diagnostic& one : e.all())
      d.add(one.place.file ? one.place : place, one.path.empty() ? path : path + "." + one.path,
            one.message, one.hint);
  }
}

std::optional<Dtype> dtype_of(const std::string& text, const Place& place, const std::string& path,
                              Diagnostics& d) {
  Reader r(d);
  const Reader::Scope scope(r, path);
  Dtype value{};
  if (!Codec<Dtype>::read(Tree::scalar(text, place), value, r)) return std::nullopt;
  return value;
}

// engine-semantics section 2: API-server defaults by device memory; A100 counts as small.
struct SizeDefaults {
  std::int64_t batched, running;
};
SizeDefaults size_defaults(const DeviceSpec& device) {
  const bool a100 = device.name.find("a100") != std::string::npos;
  if (device.memory >= Bytes{160LL << 30}) return {16384, 1024};
  if (device.memory >= Bytes{70LL << 30} && !a100) return {8192, 1024};
  return {2048, 256};
}

BatchRules batch_rules(const BatchSpec& s) {
  BatchRules b;
  switch (s.order) {
    case BatchOrderSpec::mixed:
      b.order = BatchOrder::running;
      break;
    case BatchOrderSpec::decodes_first:
      b.order = BatchOrder::decodes;
      break;
    case BatchOrderSpec::prompts_first:
      b.order = BatchOrder::prompts;
      break;
  }
  switch (s.reserve) {
    case BatchReserveSpec::none:
      b.reserve = BatchReserve::none;
      break;
    case BatchReserveSpec::prompt:
      b.reserve = BatchReserve::prompt;
      break;
    case BatchReserveSpec::output:
      b.reserve = BatchReserve::output;
      break;
    case BatchReserveSpec::estimate:
      b.reserve = BatchReserve::estimate;
      break;
  }
  b.victim = s.victim == BatchVictimSpec::last ? BatchVictim::last : BatchVictim::fewest_outputs;
  b.estimate = s.estimate.value;
  b.estimate_floor = s.estimate_floor.value;
  b.estimate_steps = s.estimate_steps;
  b.output_limit = s.output_limit;
  b.alternates = s.alternates;
  b.pads_prompts = s.pads_prompts;
  b.needs_free_block = s.needs_free_block;
  b.idle_watermark = s.idle_watermark;
  b.displaced_last = s.displaced_last;
  b.restarts_shorter = s.restarts_shorter;
  b.carries_fractions = s.carries_fractions;
  return b;
}

Duration per_layer(Duration fixed, Duration layer, std::int64_t layers) {
  return fixed + layer * layers;
}

}  // namespace

ModelSpec build_model(const Tree& given, const std::string& base_dir, const std::string& path,
                      Diagnostics& d) {
  ModelSpec spec;
  Reader r(d);
  const Reader::Scope scope(r, path);
  const Tree* config = given.find("hf_config");
  if (config == nullptr) {
    const std::size_t before = d.all().size();
    const Tree t = resolve_catalog(CatalogKind::model, given, base_dir, path, d);
    if (d.all().size() == before) read_model(t, spec, r);
    return spec;
  }
  if (!config->is_scalar()) {
    r.error(*config, "expected the path of a config.json");
    return spec;
  }
  const std::size_t before = d.all().size();
  const Tree json = load_named_file(*config, base_dir, path + ".hf_config", d);
  if (d.all().size() != before) return spec;
  spec = from_hf_config(json, r);
  if (d.all().size() != before) return spec;
  Tree over = given;
  over.erase("hf_config");
  read_model(Tree::merged(write_fields(spec), over), spec, r);
  return spec;
}

namespace {

// A resolved scenario (`kvsim run --print`): everything is spelled out.
void read_resolved(const Tree& given, Hardware& out, Reader& r) {
  const auto read = [&](const char* key, auto& value) {
    const Tree* t = given.find(key);
    const Reader::Scope scope(r, key);
    if (t != nullptr) Codec<std::remove_reference_t<decltype(value)>>::read(*t, value, r);
    return t != nullptr;
  };
  read("device", out.device);
  read("gpu_link", out.gpu_link);
  out.bare = !read("node", out.node);
  read("storage", out.storage);
}

}  // namespace

Hardware build_hardware(const Tree& given, const std::string& base_dir, const std::string& path,
                        Diagnostics& d) {
  Hardware out;
  Reader r(d);
  const Reader::Scope scope(r, path);
  if (const Tree* device = given.find("device"); device != nullptr && device->is_map()) {
    read_resolved(given, out, r);
    return out;
  }
  const Tree* named = given.is_map() ? given.find("base") : &given;
  const std::string id = named != nullptr && named->is_scalar() ? named->text() : "";
  std::size_t before = d.all().size();
  const bool is_node_id = catalog_file(CatalogKind::node, id).has_value();
  if (!is_node_id && !catalog_file(CatalogKind::device, id) && !id.ends_with(".yaml") &&
      !id.ends_with(".yml") && !id.empty()) {
    std::vector<std::string> known = catalog_ids(CatalogKind::device);
    const auto nodes = catalog_ids(CatalogKind::node);
    known.insert(known.end(), nodes.begin(), nodes.end());
    r.error(*named, "unknown hardware '" + id + "'", name_hint(id, known));
    return out;
  }
  const Tree t = resolve_catalog(is_node_id ? CatalogKind::node : CatalogKind::device, given,
                                 base_dir, path, d);
  if (d.all().size() != before) return out;
  if (t.find("device") == nullptr) {
    if (!read_fields(out.device, t, r)) return out;
    out.gpu_link = out.device.gpu_link;  // of the machines it is usually found in
    return out;
  }
  NodeSpec node;
  if (!read_fields(node, t, r)) return out;
  before = d.all().size();
  const Tree device =
      load_catalog(CatalogKind::device, node.device, t.place(), path + ".device", d);
  if (d.all().size() == before) read_fields(out.device, device, r);
  for (const StorageUse& use : node.storage) {
    const Tree drive =
        load_catalog(CatalogKind::storage, use.device, t.place(), path + ".storage", d);
    if (d.all().size() == before) read_fields(out.storage[use.device], drive, r);
  }
  out.gpu_link = node.gpu_link;
  out.bare = false;
  out.node = std::move(node);
  if (d.all().size() == before)
    report(d, t.place(), path,
           [&] { build_topology(out.node, std::min(out.node.nodes, 2), out.storage); });
  return out;
}

std::unique_ptr<TraceSource> build_trace(const WorkloadSpec& w, const TraceSource::Context& given,
                                         const std::string& base_dir, Diagnostics& d) {
  TraceSource::Context context = given;
  std::unique_ptr<TraceSource> trace;
  if (w.trace) {
    context.path = resolve_path(base_dir, w.trace->file);
    context.lenient = w.trace->lenient;
    report(d, {}, "workload.trace", [&] {
      trace = Registry::instance().make<TraceSource>(w.trace->format.name, w.trace->format.params,
                                                     context);
      // Readers look at their file when asked: the first record shows whether it is in this format
      // at all.
      if (!trace->next_arrival()) throw InputError(context.path + ": holds no request");
    });
  } else if (!w.generate.is_null()) {
    context.path = base_dir;
    Reader r(d);
    const Reader::Scope workload(r, "workload");
    const Reader::Scope generate(r, "generate");
    GeneratorParams params;
    if (read_fields(params, w.generate, r))
      report(d, w.generate.place(), "workload.generate",
             [&] { trace = make_generator(params, context); });
  }
  return trace;
}

namespace {

class Builder {
 public:
  Builder(const LoadedScenario& loaded, Diagnostics& d, const ThisMachine& machine)
      : loaded_(loaded), d_(d), machine_(machine) {
    out_.scenario = loaded.value;
    out_.base_dir = loaded.base_dir;
  }

  // `alone`: these are all instances of the run.
  BuiltRun build(bool with_trace, bool alone = true) {
    const std::size_t before = d_.all().size();
    build_parts();
    if (d_.all().size() == before) {
      build_cost();
      size_engine();
    }
    if (alone) report(d_, {}, "router", [&] { make_router(out_, s().deployment.replicas); });
    if (with_trace) {
      TraceSource::Context c;
      c.block_tokens = out_.engine.block_tokens;
      c.seed = s().seed;
      c.rate_scale = s().workload.rate_scale.value;
      c.limit = s().workload.limit;
      out_.trace = build_trace(s().workload, c, out_.base_dir, d_);
    }
    check_resets();
    if (d_.all().size() == before) out_.tiers = build_tiers(out_, loaded_.tree, d_);
    if (d_.all().size() == before) out_.faults = build_faults(out_, loaded_.tree, d_);
    resolve_tree();
    return std::move(out_);
  }

 private:
  Scenario& s() { return out_.scenario; }
  void error(const std::string& path, const std::string& message, const std::string& hint = {}) {
    d_.add(place_of(loaded_.tree, path), path, message, hint);
  }

  void build_parts() {
    out_.model = build_model(s().model, out_.base_dir, "model", d_);
    const Hardware hardware =
        build_hardware(s().deployment.hardware, out_.base_dir, "deployment.hardware", d_);
    out_.device = hardware.device;
    if (d_.empty() && (out_.device.memory.count() <= 0 || out_.device.bandwidth.value <= 0))
      error("deployment.hardware",
            fmt::format("device {} has no memory or no memory bandwidth", out_.device.name),
            "give both in its file");
    out_.interconnect = hardware.gpu_link;
    const InterconnectSpec& over = s().deployment.interconnect;
    if (over.bandwidth) out_.interconnect.bandwidth = *over.bandwidth;
    if (over.latency) out_.interconnect.latency = *over.latency;
    const ParallelSpec& split = s().deployment.parallel;
    out_.parallel = split.parallel();
    if (split.expert.count > 1 && split.expert.count != split.tensor * split.data)
      error("deployment.parallel.expert",
            fmt::format("experts over {} ranks, but tensor x data is {}", split.expert.count,
                        split.tensor * split.data),
            "set it to tensor x data, or to 1");
    const bool several = out_.parallel.tensor > 1 || out_.parallel.pipeline > 1 ||
                         (out_.parallel.data > 1 && out_.model.moe);
    if (several && out_.interconnect.bandwidth.value <= 0)
      error("deployment.interconnect",
            fmt::format("the catalogue has no link between GPUs of {}", out_.device.name),
            "add interconnect: {bandwidth: 64 GB/s, latency: 10 us}");
    if (s().cache.dtype == "auto") s().cache.dtype = name_of(out_.precision.activations);
    if (const auto kv =
            dtype_of(s().cache.dtype, place_of(loaded_.tree, "cache.dtype"), "cache.dtype", d_))
      out_.precision.kv = *kv;
    out_.precision.weights = out_.model.weights;
    if (!s().weights.empty())
      if (const auto w = dtype_of(s().weights, place_of(loaded_.tree, "weights"), "weights", d_))
        out_.precision.weights = *w;
    report(d_, place_of(loaded_.tree, "deployment.parallel"), "deployment.parallel",
           [&] { check_split(out_.model, out_.parallel); });
    if (s().cost.name == "kernels" && d_.empty()) use_this_machine();
    place_gpus(hardware);
  }

  // `cost: {model: kernels, device: cpu}`: what was measured here is the hardware. The resolved
  // scenario names the measured figures in place of the device, so that it means the same on
  // another machine.
  void use_this_machine() {
    Tree& params = s().cost.params;
    const Tree* device = params.find("device");
    if (device == nullptr || device->text().empty()) return;
    if (const Tree* given = loaded_.tree.find("deployment");
        given != nullptr && given->find("hardware") != nullptr)
      return error("deployment.hardware", "cost.device already names the hardware",
                   "remove one of the two");
    report(d_, place_of(loaded_.tree, "cost.device"), "cost.device", [&] {
      const TransformerWork work(out_.model, out_.parallel, out_.precision);
      out_.is_unmeasured = !machine_;
      out_.device =
          machine_ ? machine_(device->text(), work) : unmeasured_device(device->text(), work);
      out_.interconnect = out_.device.gpu_link;
    });
    params.erase("device");
  }

  // An instance lives in one node: what collectives cost is known for the links within it.
  void place_gpus(const Hardware& hardware) {
    const int gpus = out_.parallel.gpus();
    out_.node = hardware.bare ? implied_node(out_.device, gpus) : hardware.node;
    out_.storage = hardware.storage;
    if (gpus > out_.node.devices && d_.empty())
      error("deployment.parallel",
            fmt::format("an instance of {} GPUs does not fit into {}, which has {}", gpus,
                        out_.node.name, out_.node.devices),
            fmt::format(
                "lower tensor, pipeline, data or context, or describe what joins more of them: "
                "hardware: {{base: {}, devices: {}, gpu_link: {{...}}}}",
                out_.node.name, gpus));
  }

  void size_engine() {
    EngineSpec& e = s().engine;
    EngineConfig& c = out_.engine;
    const SizeDefaults sizes = size_defaults(out_.device);
    if (!e.max_model_len) e.max_model_len = out_.model.max_context;
    if (!e.max_running)
      e.max_running = std::min(sizes.running, e.max_batched_tokens.value_or(sizes.running));
    if (!e.max_batched_tokens)
      e.max_batched_tokens =
          std::max({*e.max_running, std::min(sizes.batched, *e.max_running * *e.max_model_len),
                    e.scheduler.rules.chunked_prefill ? 0 : *e.max_model_len});
    if (*e.max_running > *e.max_batched_tokens)
      error("engine.max_running",
            fmt::format("{} running requests exceed the budget of {} tokens", *e.max_running,
                        *e.max_batched_tokens),
            "raise max_batched_tokens or lower max_running");
    if (*e.max_model_len > out_.model.max_context)
      error("engine.max_model_len",
            fmt::format("{} tokens are more than {} of {}", *e.max_model_len,
                        out_.model.max_context, out_.model.name));
    c.block_tokens = e.block_tokens;
    c.max_batched_tokens = *e.max_batched_tokens;
    c.max_running = *e.max_running;
    c.max_model_len = *e.max_model_len;
    const SchedulerRules& rules = e.scheduler.rules;
    c.long_prefill_threshold = rules.long_prefill_threshold;
    c.chunked_prefill = rules.chunked_prefill;
    c.full_sequence_admission = rules.full_sequence_admission;
    c.async_scheduling = rules.async;
    c.watermark = rules.watermark.value;
    c.batch = batch_rules(e.batch);
    c.overhead = per_layer(e.overhead, e.layer_overhead, out_.model.layers);
    c.graph_overhead = per_layer(e.graph_overhead, e.graph_layer_overhead, out_.model.layers);
    c.schedule_time = e.schedule_time;
    c.front_end = e.front_end;
    c.back_end = e.back_end;
    c.request_timeout = e.request_timeout;
    if (e.cuda_graphs) {
      if (e.graph_sizes.empty())
        e.graph_sizes =
            default_graph_sizes(c.max_running, c.max_batched_tokens, is_blackwell(out_.device));
      if (!std::is_sorted(e.graph_sizes.begin(), e.graph_sizes.end()))
        error("engine.graph_sizes", "the sizes must ascend");
      c.graph_sizes = e.graph_sizes;
    }
    build_pool(out_, loaded_.tree, d_);
    size_cache();
    choose_order();
    build_pipeline(out_, loaded_.tree, d_);
    check_context(out_, loaded_.tree, d_);
  }

  // Schedulers and admission controls live in the ranks; what is wrong with them is said here.
  void choose_order() {
    EngineConfig& c = out_.engine;
    const EngineSpec& e = s().engine;
    c.seed = s().seed;
    c.ttft_objective = s().slo.ttft;
    c.tpot_objective = s().slo.tpot;
    c.e2e_objective = s().slo.e2e;
    c.make_scheduler = [policy = e.scheduler.policy](const Scheduler::Context& context) {
      return Registry::instance().make<Scheduler>(policy.name, policy.params, context);
    };
    if (e.admission.name != "all")
      c.make_admission = [policy = e.admission](const Admission::Context& context) {
        return Registry::instance().make<Admission>(policy.name, policy.params, context);
      };
    report(d_, place_of(loaded_.tree, "engine.scheduler"), "engine.scheduler", [&] {
      const Scheduler::Context context{
          c.seed,           c.block_tokens,   c.max_running,  c.max_batched_tokens,
          c.ttft_objective, c.tpot_objective, c.e2e_objective};
      const Scheduler::Traits traits = c.make_scheduler(context)->traits();
      const PreemptionSpec& p = e.preemption;
      if (traits.holds_running && !traits.chooses_form && p.copies == CopyTime::waited &&
          p.part == PreemptedPart::request)
        throw InputError("requests that wait in the middle of their output need their KV there",
                         "set engine.preemption: {part: tail}, or {mode: swap, copies: ahead}");
      if (s().cache.hidden_states && !traits.chooses_form)
        throw InputError("nobody says whose hidden states are kept (cache.hidden_states)",
                         "set engine.scheduler.policy: apt-serve");
      if (traits.preempts && c.memory.parks)
        throw InputError("layer-wise memory parks requests, which nobody can displace",
                         "set another cache.memory, or decode: stream");
    });
    report(d_, place_of(loaded_.tree, "engine.admission"), "engine.admission", [&] {
      if (c.make_admission)
        c.make_admission({c.ttft_objective, c.tpot_objective, c.e2e_objective, nullptr});
    });
  }

  // A manager may hand memory out in a grain of its own; the scenario's block then is only the unit
  // of kv_blocks.
  void choose_memory() {
    EngineConfig& c = out_.engine;
    report(d_, place_of(loaded_.tree, "cache.memory"), "cache.memory", [&] {
      out_.memory_manager = build_memory(out_);
      c.memory_manager = out_.memory_manager.get();
      c.memory = c.memory_manager->rules();
      c.block_tokens = c.memory.block_tokens;
    });
  }

  // Blocks of the manager in the memory of so many of the scenario's.
  std::int64_t own_blocks(std::int64_t kv_blocks) const {
    const MemoryRules& r = out_.engine.memory;
    if (r.block_bytes > Bytes{0})
      kv_blocks = kv_block_bytes(out_.model, out_.parallel, out_.precision.kv,
                                 out_.scenario.engine.block_tokens) *
                  kv_blocks / r.block_bytes;
    if (out_.forms)
      kv_blocks =
          static_cast<std::int64_t>(static_cast<double>(kv_blocks) / out_.forms->block_share());
    const bool null_block = r.null_block && out_.scenario.engine.batch.null_block;
    return kv_blocks - (null_block ? 1 : 0) + r.lent_blocks;  // the null block is the engine's
  }

  void use_forms(std::unique_ptr<KvForms> forms) {
    out_.engine.forms = forms.get();
    out_.cache_forms = std::move(forms);
  }

  void size_cache() {
    choose_memory();
    build_hybrid(out_, loaded_.tree, d_);
    if (out_.cost == nullptr) return;  // it says which memories hold KV
    report(d_, place_of(loaded_.tree, "cache.token_policies"), "cache.token_policies", [&] {
      out_.forms = build_tokens(out_, loaded_.tree, d_);
      out_.engine.forms = out_.forms.get();
    });
    if (auto hidden = build_hidden_forms(out_, loaded_.tree, d_)) use_forms(std::move(hidden));
    build_speculation(out_, loaded_.tree, d_);
    build_lora(out_, loaded_.tree, d_);
    build_encoder(out_, loaded_.tree, d_);
    EngineSpec& e = s().engine;
    if (out_.cost->offload() != nullptr) {
      build_offload(out_, loaded_.tree, d_);
    } else if (!e.kv_blocks) {
      MemoryPlan plan;
      plan.total = out_.device.memory;
      plan.utilization = e.gpu_memory_utilization;
      plan.max_batched_tokens = *e.max_batched_tokens;
      plan.max_running = *e.max_running;
      plan.block_tokens = e.block_tokens;
      plan.graph_pool = e.graph_pool.value_or(Bytes{0});
      plan.activation = e.activation_memory;
      if (out_.hybrid) plan.block = out_.hybrid->rank;
      make_room_for_draft(out_, plan);
      make_room_for_adapters(out_, plan);
      make_room_for_encoder(out_, plan);
      report(d_, place_of(loaded_.tree, "engine"), "engine", [&] {
        out_.memory = plan_memory(out_.model, out_.parallel, out_.precision, plan);
        e.kv_blocks = out_.memory->blocks.count();
      });
    }
    if (e.kv_blocks) out_.engine.kv_blocks = own_blocks(*e.kv_blocks);
    if (e.kv_blocks)
      report(d_, place_of(loaded_.tree, "cache.placement"), "cache.placement", [&] {
        if (auto placed = build_placed_forms(out_, loaded_.tree, d_)) use_forms(std::move(placed));
      });
    if (e.kv_blocks) reserve_snapshots(out_, loaded_.tree, d_);
    if (e.kv_blocks)
      size_host(out_, [this](const char* path, const char* message, const char* hint) {
        error(path, message, hint);
      });
    if (e.kv_blocks && out_.engine.kv_blocks < 1)
      error("engine.kv_blocks", "no usable KV block is left");
  }

  void build_cost() {
    if (!d_.empty()) return;
    report(d_, place_of(loaded_.tree, "cost"), "cost", [&] {
      out_.work = std::make_unique<TransformerWork>(out_.model, out_.parallel, out_.precision);
      out_.cost = Registry::instance().make<CostModel>(
          s().cost.name, s().cost.params,
          {out_.work.get(), &out_.device, &out_.interconnect, out_.parallel, out_.base_dir,
           &out_.node, &out_.storage, static_cast<double>(bits(out_.precision.kv))});
      out_.engine.windows = out_.work->facts().windows;
    });
  }

  void check_resets() {
    for (const Duration at : s().cache.prefix.reset_at)
      if (at.count() <= 0) error("cache.prefix.reset_at", "an instant must be after the start");
  }

  void resolve_tree() {
    out_.resolved = write_fields(out_.scenario);
    if (!d_.empty()) return;
    out_.resolved.set("model", write_fields(out_.model));
    Tree hardware = Tree::map();
    hardware.set("device", write_fields(out_.device));
    hardware.set("gpu_link", write_fields(out_.interconnect));
    hardware.set("node", write_fields(out_.node));
    hardware.set("storage", Codec<std::map<std::string, StorageSpec>>::write(out_.storage));
    if (Tree* deployment = out_.resolved.find("deployment"))
      deployment->set("hardware", std::move(hardware));
    if (!s().workload.generate.is_null()) {
      GeneratorParams params;
      Diagnostics ignored;
      Reader r(ignored);
      read_fields(params, s().workload.generate, r);
      out_.resolved.find("workload")->set("generate", write_fields(params));
    }
  }

  const LoadedScenario& loaded_;
  Diagnostics& d_;
  const ThisMachine& machine_;
  BuiltRun out_;
};

}  // namespace

BuiltRun::BuiltRun() = default;
BuiltRun::BuiltRun(BuiltRun&&) noexcept = default;
BuiltRun& BuiltRun::operator=(BuiltRun&&) noexcept = default;
BuiltRun::~BuiltRun() = default;

BuiltRun build_run(const LoadedScenario& loaded, bool with_trace, Diagnostics& d,
                   const ThisMachine& machine) {
  const auto build = [&](const LoadedScenario& one, bool trace, bool alone) {
    return Builder(one, d, machine).build(trace, alone);
  };
  BuiltRun run = loaded.value.deployment.pools.empty()
                     ? with_fleet(build(loaded, with_trace, true), loaded.tree, d)
                     : build_pools(loaded, with_trace, build, d);
  check_images(run, loaded.tree, d);
  return run;
}

}  // namespace kvsim
