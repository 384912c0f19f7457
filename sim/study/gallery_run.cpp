#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <filesystem>
#include <future>
#include <mutex>
#include <thread>

#include "models/geometry.h"
#include "sim/cache/bounds.h"
#include "sim/cache/prefix_replay.h"
#include "sim/cache/stream.h"
#include "sim/run/build.h"
#include "sim/scenario/catalog.h"
#include "sim/scenario/scenario.h"
#include "sim/study/gallery.h"
#include "sim/study/trial.h"

namespace kvsim {
namespace {

double number(std::int64_t n) { return static_cast<double>(n); }
double number(Bytes b) { return number(b / Bytes{1}); }

std::map<std::string, double> numbers_of(const std::vector<Metric>& metrics) {
  std::map<std::string, double> out;
  for (const Metric& m : metrics)
    if (m.scope == "run")
      out[m.statistic == "value" ? m.name : m.name + "." + m.statistic] = m.value;
  return out;
}

// The trace of a scenario that does not ship with the program and is not here; empty: none.
std::string absent_trace(const std::string& file, const std::vector<std::string>& sets) {
  Diagnostics d;
  const LoadedScenario s = load_scenario(file, sets, d);
  if (!d.empty() || !s.value.workload.trace) return {};
  const std::string path = resolve_path(s.base_dir, s.value.workload.trace->file);
  const std::filesystem::path home = std::filesystem::path(gallery_folder()) / "../..";
  const bool ships = !std::filesystem::path(path)
                          .lexically_relative(home.lexically_normal())
                          .string()
                          .starts_with("..");
  return ships || std::filesystem::exists(path) ? std::string{} : path;
}

RunResult run_seeds(const std::string& file, const std::vector<std::string>& sets, int seeds) {
  Diagnostics d;
  const std::uint64_t first = load_scenario(file, sets, d).value.seed;
  RunResult mean;
  for (int k = 0; k < seeds; ++k) {
    std::optional<std::uint64_t> seed;
    if (seeds > 1) seed = first + static_cast<std::uint64_t>(k);
    const TrialResult trial = run_trial(file, {sets, seed, false});
    if (!trial.error.empty()) return {trial.error, false, {}};
    for (const auto& [name, value] : numbers_of(trial.metrics)) mean.numbers[name] += value / seeds;
  }
  return mean;
}

// Points that several sweeps of a claim share run once.
class Trials {
 public:
  RunResult run(const std::string& file, const std::vector<std::string>& sets, int seeds) {
    std::string key = fmt::format("{}\n{}", file, seeds);
    for (const std::string& set : sets) key += "\n" + set;
    std::promise<RunResult> mine;
    std::shared_future<RunResult> result;
    bool is_new = false;
    {
      const std::lock_guard lock(mutex_);
      const auto [at, fresh] = known_.try_emplace(key);
      if (fresh) at->second = mine.get_future().share();
      result = at->second;
      is_new = fresh;
    }
    if (is_new) mine.set_value(run_new(file, sets, seeds));
    return result.get();
  }

 private:
  static RunResult run_new(const std::string& file, const std::vector<std::string>& sets,
                           int seeds) {
    try {
      if (const std::string trace = absent_trace(file, sets); !trace.empty())
        return {fmt::format("the trace {} is not here", trace), true, {}};
      return run_seeds(file, sets, seeds);
    } catch (const InputError& e) {
      return {e.what(), false, {}};
    }
  }
  std::mutex mutex_;
  std::map<std::string, std::shared_future<RunResult>> known_;
};

// Whether the limits hold; a metric that the run does not have is a mistake of the claim.
bool holds(const GallerySearch& s, RunResult& run) {
  for (const auto& [name, limit] : s.at_most) {
    const auto found = run.numbers.find(name);
    if (found == run.numbers.end())
      run.error = fmt::format("search.at_most: the run has no metric '{}'", name);
    else if (found->second > limit)
      return false;
  }
  return true;
}

RunResult run_search(const std::string& file, const GalleryRun& run, Trials& trials) {
  const GallerySearch& s = *run.search;
  RunResult best;
  const auto good = [&](double value) {
    std::vector<std::string> sets = run.set;
    sets.push_back(fmt::format("{}={}", s.path, value));
    RunResult here = trials.run(file, sets, run.seeds);
    const bool is_good = here.error.empty() && holds(s, here);
    if (!is_good && here.error.empty()) return false;
    here.numbers["found"] = value;
    best = std::move(here);
    return is_good;
  };
  const auto fail = [&](const std::string& message) {
    if (best.error.empty()) best.error = fmt::format("search over {}: {}", s.path, message);
    return best;
  };
  double low = s.from, high = s.to;
  if (!good(low)) return fail(fmt::format("the limits do not hold at {}", low));
  if (good(high)) return fail(fmt::format("the limits still hold at {}", high));
  while (best.error.empty() && high / low > 1 + s.precision.value) {
    const double middle = std::sqrt(low * high);
    (good(middle) ? low : high) = middle;
  }
  return best;
}

RunResult step_numbers(const std::string& file, const GalleryRun& run) {
  Diagnostics d;
  const LoadedScenario loaded = load_scenario(file, run.set, d);
  const BuiltRun built = build_run(loaded, false, d);
  d.throw_if_any();
  const GalleryStep& step = *run.step;
  StepShape s;
  s.decodes = step.decodes;
  s.padded_decodes = built.engine.padded(step.decodes);
  s.decode_context_sum = step.decodes * step.context;
  s.decode_context_max = step.context;
  for (std::size_t i = 0; i < kMaxWindows; ++i)
    if (built.engine.windows[i] > 0)
      s.decode_window_sum[i] = step.decodes * std::min(step.context, built.engine.windows[i]);
  if (step.shared > 0 && !built.cost->shares_prefixes())
    return {fmt::format("cost model {} has no price for shared prefixes", built.scenario.cost.name),
            false,
            {}};
  s.decode_shared_sum = step.decodes * step.shared;
  s.decode_shared_read = step.shared;
  RunResult out;
  for (const CostModel::Part& p : built.cost->explain(s)) {
    out.numbers[p.name + "_us"] += p.ns / 1e3;
    out.numbers["step_us"] += p.ns / 1e3;
    if (p.name.starts_with("attention")) out.numbers["attention_us"] += p.ns / 1e3;
  }
  return out;
}

// Where the first limit breaks, from the values of its metric on both sides.
void find_break(const GallerySweep& s, RunResult& all) {
  double found = s.values.back();
  bool is_broken = false;
  const auto look = [&](const std::map<std::string, double>& limits, double sign) {
    for (const auto& [name, limit] : limits) {
      double before = 0, x = 0;
      for (std::size_t i = 0; i < s.values.size(); ++i) {
        const auto at = all.numbers.find(fmt::format("at_{}.{}", i + 1, name));
        if (at == all.numbers.end()) {
          all.error = fmt::format("sweep: the run has no metric '{}'", name);
          return;
        }
        const double room = sign * (at->second - limit);
        if (room < 0) {
          const double here =
              i == 0 ? s.values[0] : x + (s.values[i] - x) * before / (before - room);
          found = is_broken ? std::min(found, here) : here;
          is_broken = true;
          break;
        }
        before = room;
        x = s.values[i];
      }
    }
  };
  look(s.at_least, 1);
  look(s.at_most, -1);
  if (!s.at_least.empty() || !s.at_most.empty()) all.numbers["found"] = found;
}

RunResult run_sweep(const std::string& file, const GalleryRun& run, Trials& trials) {
  RunResult all;
  const GallerySweep& s = *run.sweep;
  for (std::size_t i = 0; i < s.values.size(); ++i) {
    std::vector<std::string> sets = run.set;
    sets.push_back(fmt::format("{}={}", s.path, s.values[i]));
    RunResult here = trials.run(file, sets, run.seeds);
    if (!here.error.empty()) return here;
    for (const auto& [name, value] : here.numbers)
      all.numbers[fmt::format("at_{}.{}", i + 1, name)] = value;
  }
  find_break(s, all);
  return all;
}

RunResult model_numbers(const GalleryRun& run, const std::string& base) {
  Diagnostics d;
  const ModelSpec m = build_model(run.model, base, "model", d);
  d.throw_if_any();
  RunResult out;
  out.numbers = {{"layers", number(m.layers)},
                 {"hidden", number(m.hidden)},
                 {"heads", number(m.heads)},
                 {"kv_heads", number(m.kv_head_count())},
                 {"kv_token_bytes", number(kv_token_bytes(m, run.kv_bits))},
                 {"kv_sequence_bytes", number(kv_sequence_bytes(m, run.tokens, Dtype::bf16))},
                 {"weight_bytes", number(weight_bytes(m, {}))},
                 {"parameters", number(parameters(m).total())},
                 {"active_parameters", number(active_parameters(m))}};
  return out;
}

RunResult hardware_numbers(const GalleryRun& run, const std::string& base) {
  Diagnostics d;
  const Hardware h = build_hardware(run.hardware, base, "hardware", d);
  d.throw_if_any();
  RunResult out;
  out.numbers = {{"gpus", h.bare ? 1.0 : number(h.node.devices)},
                 {"memory_bytes", number(h.device.memory)},
                 {"bandwidth", h.device.bandwidth.value}};
  for (const char* precision : {"fp16", "bf16"})
    if (const auto rate = h.device.compute.find(precision); rate != h.device.compute.end())
      out.numbers["flops"] = rate->second.value;
  return out;
}

// Requests dealt to the nodes in turn, each with a stream of its own.
std::vector<BlockStream> dealt(const BlockStream& s, std::size_t nodes) {
  std::vector<BlockStream> all(nodes);
  std::vector<std::vector<ObjectId>> ids(nodes, std::vector<ObjectId>(s.objects.size(), kNoObject));
  for (std::size_t r = 0; r < s.requests(); ++r) {
    BlockStream& own = all[r % nodes];
    ObjectId before = kNoObject;
    for (std::size_t i = s.begin[r]; i < s.begin[r + 1]; ++i) {
      ObjectId& id = ids[r % nodes][s.access[i]];
      if (id == kNoObject) id = own.objects.add(s.objects.key[s.access[i]], before);
      own.access.push_back(before = id);
    }
    own.begin.push_back(own.access.size());
    own.request.push_back(s.request[r]);
  }
  return all;
}

RunResult replay_numbers(const GalleryReplay& replay, const std::string& base) {
  TraceSource::Context context;
  context.path = resolve_path(base, replay.file);
  if (!std::filesystem::exists(context.path))
    return {fmt::format("the trace {} is not here", replay.file), true, {}};
  const auto source =
      Registry::instance().make<TraceSource>(replay.format, Tree::map(), std::move(context));
  const BlockStream stream = load_stream(*source);
  const std::int64_t capacity =
      std::max<std::int64_t>(1, replay.capacity_tokens / replay.block_tokens);
  std::uint64_t hits = 0;
  for (const BlockStream& own : dealt(stream, static_cast<std::size_t>(replay.nodes))) {
    PrefixReplay node(own);
    node.start(replay.policy, Tree::map(), capacity);
    hits += node.run().total;
  }
  RunResult out;
  out.numbers = {{"blocks", static_cast<double>(stream.access.size())},
                 {"hits", static_cast<double>(hits)},
                 {"ceiling", static_cast<double>(prefix_ceiling(stream).total)}};
  return out;
}

RunResult run_one(const GalleryRun& run, const std::string& base, Trials& trials) {
  try {
    if (!run.model.is_null()) return model_numbers(run, base);
    if (!run.hardware.is_null()) return hardware_numbers(run, base);
    if (run.replay) return replay_numbers(*run.replay, base);
    const std::string file = resolve_path(base, run.scenario);
    if (run.step) return step_numbers(file, run);
    if (run.sweep) return run_sweep(file, run, trials);
    return run.search ? run_search(file, run, trials) : trials.run(file, run.set, run.seeds);
  } catch (const InputError& e) {
    return {e.what(), false, {}};
  }
}

std::string folder_of(const Claim& c) {
  return std::filesystem::path(c.file).parent_path().string();
}

CurveResult::Line line_of(const GalleryLine& line, const GalleryRun& run, const RunResult& from) {
  CurveResult::Line out;
  out.error = from.error;
  if (!out.error.empty()) return out;
  try {
    for (std::size_t i = 0; i < run.sweep->values.size(); ++i) {
      out.y.push_back(line.value.value([&](const std::string& name) -> std::optional<double> {
        const auto at = from.numbers.find(fmt::format("at_{}.{}", i + 1, name));
        return at == from.numbers.end() ? std::nullopt : std::optional(at->second);
      }));
      out.x.push_back(run.sweep->values[i] * line.scale);
    }
  } catch (const InputError& e) {
    out = {{}, {}, e.all()[0].message};
  }
  return out;
}

FigureResult figure_of(const GalleryFigure& f, const std::map<std::string, RunResult>& runs) {
  FigureResult out;
  for (const std::string& name : f.value.names())
    if (const RunResult& run = runs.at(name.substr(0, name.find('.'))); !run.error.empty()) {
      out.error = fmt::format("run {}: {}", name.substr(0, name.find('.')), run.error);
      if (run.is_absent) out.verdict = Verdict::absent;
      return out;
    }
  try {
    out.simulated = f.value.value([&](const std::string& name) -> std::optional<double> {
      const std::size_t dot = name.find('.');
      if (dot == std::string::npos) return std::nullopt;
      const auto& numbers = runs.at(name.substr(0, dot)).numbers;
      const auto found = numbers.find(name.substr(dot + 1));
      return found == numbers.end() ? std::nullopt : std::optional(found->second);
    });
    out.verdict = verdict_of(f, out.simulated);
    if (out.verdict == Verdict::failed) out.error = "the formula gives no number";
  } catch (const InputError& e) {
    out.error = fmt::format("figure '{}': {}", f.what, e.all()[0].message);
  }
  return out;
}

}  // namespace

std::vector<ClaimResult> run_gallery(const std::vector<const Claim*>& claims, unsigned threads) {
  struct Task {
    const GalleryRun* run;
    std::string base;
    RunResult result;
  };
  std::vector<Task> tasks;
  std::map<std::string, std::size_t> known;  // what a run depends on -> its task
  const auto key_of = [](const GalleryRun& run, const std::string& base) {
    return base + "\n" + to_yaml(write_fields(run));
  };
  for (const Claim* c : claims)
    for (const auto& [name, run] : c->runs)
      if (known.try_emplace(key_of(run, folder_of(*c)), tasks.size()).second)
        tasks.push_back({&run, folder_of(*c), {}});
  // Searches are many runs: they begin first, so that no thread ends alone with one.
  std::vector<Task*> queue;
  for (Task& t : tasks) queue.push_back(&t);
  std::stable_partition(queue.begin(), queue.end(),
                        [](const Task* t) { return t->run->search || t->run->sweep; });
  std::atomic<std::size_t> next = 0;
  Trials trials;
  const auto work = [&] {
    for (std::size_t i = next++; i < queue.size(); i = next++)
      queue[i]->result = run_one(*queue[i]->run, queue[i]->base, trials);
  };
  if (threads == 0) threads = std::max(1U, std::thread::hardware_concurrency());
  std::vector<std::thread> others;
  for (unsigned i = 1; i < threads && i < queue.size(); ++i) others.emplace_back(work);
  work();
  for (std::thread& t : others) t.join();

  std::vector<ClaimResult> results;
  for (const Claim* c : claims) {
    ClaimResult r;
    r.claim = c;
    for (const auto& [name, run] : c->runs)
      r.runs[name] = tasks[known.at(key_of(run, folder_of(*c)))].result;
    for (const GalleryFigure& f : c->figures) r.figures.push_back(figure_of(f, r.runs));
    for (const GalleryCurve& v : c->curves) {
      CurveResult curve;
      for (const auto& [name, line] : v.lines)
        curve.lines[name] = line_of(line, c->runs.at(line.run), r.runs.at(line.run));
      r.curves.push_back(std::move(curve));
    }
    results.push_back(std::move(r));
  }
  return results;
}

}  // namespace kvsim
