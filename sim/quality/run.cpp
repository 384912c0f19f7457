#include "sim/quality/run.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <set>

#include "policies/token/system.h"
#include "sim/base/hash.h"
#include "sim/quality/text.h"

namespace kvsim::quality {

namespace {

std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

Source::Context context_of(const Question& q) {
  return {q.base_dir, q.seed, q.spec.prompt, q.spec.steps, q.spec.sequences, q.like};
}
std::unique_ptr<Source> open_source(const Question& q) {
  return Registry::instance().make<Source>(q.spec.source.name, q.spec.source.params, context_of(q));
}

// One policy at one budget, and what became of it.
struct Point {
  token::TokenPolicies policies;
  std::string question;
  std::vector<PolicyOnTensors> tensors;  // by sequence
  std::vector<TextResult> texts;
  PointResult result;
};

std::vector<Measure> wanted_measures(const QualitySpec& spec, const Source& source) {
  std::vector<Measure> all;
  for (const auto& [m, name] : enum_names(Measure{})) {
    const bool is_possible = is_proxy(m) || (source.model() != nullptr &&
                                             (m == Measure::perplexity || spec.generate > 0));
    const bool is_asked =
        spec.measures.empty() ||
        std::find(spec.measures.begin(), spec.measures.end(), m) != spec.measures.end();
    if (is_possible && is_asked) all.push_back(m);
  }
  return all;
}

// All that the answer depends on.
std::string question_text(const Question& q, const Source& source, const Point& p,
                          const std::vector<Measure>& measures, const std::string& device) {
  Tree t = Tree::map();
  t.set("source", Codec<decltype(q.spec.source)>::write(q.spec.source));
  t.set("tensors", Tree::scalar(fmt::format("{:016x}", source.digest())));
  const token::KvShape s = source.shape();
  t.set("shape", Tree::scalar(fmt::format("{} {} {} {} {} {}", s.layers, s.q_heads, s.kv_heads,
                                          s.k_dim, s.v_dim, s.element_bits)));
  t.set("length", Tree::scalar(fmt::format("{} {} {} {} {}", source.prompt(), source.steps(),
                                           source.sequences(), q.spec.generate, q.spec.top)));
  t.set("seed", Tree::scalar(std::to_string(q.seed)));
  t.set("device", Tree::scalar(device));
  std::string names;
  for (const Measure m : measures) names += std::string(name_of(m)) + " ";
  for (const Grain g : q.spec.detail) names += std::string(name_of(g)) + " ";
  t.set("measures", Tree::scalar(names));
  t.set("policies", write_fields(p.policies));
  return to_yaml(t);
}

// The knob that was turned, as "size 102": what the fitted pipeline says otherwise than the other.
std::string turned(const token::TokenPolicies& p) {
  switch (knob_of(p)) {
    case Knob::budget:
      return fmt::format("size {}", p.budget->size.tokens);
    case Knob::ratio:
      return fmt::format("ratio {:.3g}", p.merge->ratio);
    case Knob::rank:
      return fmt::format("rank {:.3g}/{:.3g}", p.low_rank->key_share.value,
                         p.low_rank->value_share.value);
    case Knob::bits:
      return fmt::format("K{:g}V{:g}", p.quantize->key_bits, p.quantize->value_bits);
    case Knob::none:
      return {};
  }
  return {};
}

std::vector<Point> points_of(const Question& q, const Source& source, QualityResult& result) {
  std::vector<Point> points(1);
  points[0].result.policy = "full";
  const token::KvShape shape = source.shape();
  for (const NamedPolicies& named : q.policies) {
    const auto add = [&](token::TokenPolicies p, std::optional<double> budget) {
      Point point;
      point.policies = std::move(p);
      point.result.policy = named.label;
      point.result.budget = budget;
      if (budget) point.result.parameters = turned(point.policies);
      points.push_back(std::move(point));
    };
    if (q.spec.budgets.empty() || knob_of(named.policies) == Knob::none) {
      add(named.policies, std::nullopt);
      continue;
    }
    std::string missed;
    for (const Ratio share : q.spec.budgets) {
      auto fitted =
          fit_to_share(named.policies, shape, source.prompt(), source.steps(), share.value);
      if (fitted)
        add(std::move(*fitted), share.value);
      else
        missed += fmt::format("{}{:g} %", missed.empty() ? "" : ", ", 100 * share.value);
    }
    if (!missed.empty())
      result.notes.push_back(
          fmt::format("{}: cannot be as small as {} of the whole cache", named.label, missed));
  }
  for (Point& p : points)
    p.result.read_bytes = read_bytes(p.policies, shape, source.prompt(), source.steps());
  return points;
}

// Deals tasks out to the threads, each with kernels of its own; a device has one user at a time.
void run_tasks(std::size_t count, const MeasureOptions& options,
               const std::function<void(std::size_t, const Compute&)>& task) {
  const int workers = options.vulkan != nullptr
                          ? 1
                          : static_cast<int>(std::min<std::size_t>(
                                size(options.threads), std::max<std::size_t>(count, 1)));
  kernels::Threads team(workers);
  std::atomic<std::size_t> next{0};
  std::vector<std::exception_ptr> errors(size(workers));
  team.run([&](int worker) {
    try {
      kernels::Threads own(1);
      const Compute compute(own, options.vulkan);
      for (std::size_t i = next++; i < count; i = next++) task(i, compute);
    } catch (...) {
      errors[size(worker)] = std::current_exception();
    }
  });
  for (const std::exception_ptr& e : errors)
    if (e) std::rethrow_exception(e);
}

// A measured number has no more meaning than this many digits, and with fewer it is the same on
// processors whose kernels round differently.
double rounded(double v) {
  if (!std::isfinite(v) || v == 0) return v;
  const double unit = std::pow(10.0, 5 - std::floor(std::log10(std::abs(v))));
  return std::round(v * unit) / unit;
}

void add_text(const std::vector<TextResult>& texts, const std::vector<TextResult>& full,
              const std::vector<Measure>& measures, std::vector<Value>& out) {
  double nll = 0, scored = 0, equal = 0, first = 0, all = 0;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    nll += texts[i].nll;
    scored += static_cast<double>(texts[i].scored);
    const auto& a = texts[i].generated;
    if (a.empty()) continue;  // then the whole cache may not have been read again
    const auto& b = full[i].generated;
    std::size_t same = 0;
    while (same < a.size() && a[same] == b[same]) ++same;
    first += static_cast<double>(same);
    all += static_cast<double>(a.size());
    for (std::size_t k = 0; k < a.size(); ++k) equal += a[k] == b[k] ? 1 : 0;
  }
  for (const Measure m : measures) {
    if (m == Measure::perplexity && scored > 0)
      out.push_back({m, "value", -1, -1, -1, std::exp(nll / scored)});
    if (m == Measure::agreement && all > 0) out.push_back({m, "mean", -1, -1, -1, equal / all});
    if (m == Measure::first_difference && all > 0)
      out.push_back({m, "mean", -1, -1, -1, first / static_cast<double>(texts.size())});
  }
}

void finish(Point& p, const Point& full, const std::vector<Measure>& measures,
            const QualitySpec& spec, double side_bytes) {
  const auto has = [&](Grain g) {
    return std::find(spec.detail.begin(), spec.detail.end(), g) != spec.detail.end();
  };
  const Detail detail{has(Grain::layer), has(Grain::head), has(Grain::step)};
  Measured& m = p.result.measured;
  for (const PolicyOnTensors& t : p.tensors) {
    m.kv_bytes += t.kv_bytes, m.kept_tokens += t.kept_tokens, m.read_tokens += t.read_tokens;
  }
  const auto n = static_cast<double>(p.tensors.size());
  m.kv_bytes /= n, m.kept_tokens /= n, m.read_tokens /= n;
  m.kv_bytes += side_bytes;
  for (const Measure measure : measures) {
    if (!is_proxy(measure)) continue;
    std::vector<const Grid*> grids;
    for (const PolicyOnTensors& t : p.tensors) grids.push_back(&t.grids.at(measure));
    summarize(measure, grids, detail, m.values);
  }
  add_text(p.texts, full.texts, measures, m.values);
  for (Value& v : m.values) v.value = rounded(v.value);
  p.tensors.clear();
}

void check_size(const Source& source) {
  const token::KvShape s = source.shape();
  const double tokens = source.prompt() + source.steps();
  const double bytes = 4.0 * static_cast<double>(s.layers * s.q_heads) * source.steps() * tokens;
  if (bytes > 4e9)
    throw InputError(fmt::format("quality: {} steps over {:.0f} tokens are more attention rows "
                                 "than fit (4 GB)",
                                 source.steps(), tokens),
                     "fewer quality.steps, or a shorter quality.prompt");
}

}  // namespace

Question read_question(const QualitySpec& spec, const std::string& base_dir, std::uint64_t seed,
                       std::optional<token::KvShape> like, Reader& r) {
  Question q{spec, {}, base_dir, seed, like};
  const std::size_t before = r.diagnostics().all().size();
  token::KvShape shape;
  std::unique_ptr<Source> source;
  try {
    source = open_source(q);
    shape = source->shape();
  } catch (const InputError& e) {
    for (const Diagnostic& d : e.all()) r.diagnostics().add(d.place, d.path, d.message, d.hint);
  }
  std::set<std::string> labels{"full"};
  for (std::size_t i = 0; i < spec.policies.size(); ++i) {
    const Reader::Scope list(r, "policies");
    const Reader::Scope item(r, std::to_string(i));
    q.policies.push_back(resolve(spec.policies[i], shape, r));
    if (!labels.insert(spec.policies[i].label).second)
      r.error(spec.policies[i].pipeline,
              fmt::format("a second policy is called '{}'", spec.policies[i].label),
              "give it a `label` of its own");
  }
  if (source == nullptr || r.diagnostics().all().size() != before) return q;
  const std::vector<Measure> possible = wanted_measures(spec, *source);
  for (const Measure m : spec.measures)
    if (std::find(possible.begin(), possible.end(), m) == possible.end())
      r.diagnostics().add({}, "quality.measures",
                          fmt::format("{} needs a source with a model{}", name_of(m),
                                      m == Measure::perplexity ? "" : " and quality.generate"),
                          "source: {kind: transformer, weights: FILE, ...}");
  return q;
}

QualityResult measure_quality(const Question& q, const MeasureOptions& options) {
  const std::unique_ptr<Source> source = open_source(q);
  check_size(*source);
  QualityResult result;
  result.source = q.spec.source.name;
  result.shape = source->shape();
  result.prompt = source->prompt();
  result.steps = source->steps();
  result.sequences = source->sequences();
  result.full_bytes = result.shape.token_bytes() * (result.prompt + result.steps);
  result.full_read_bytes =
      read_bytes(token::TokenPolicies{}, result.shape, result.prompt, result.steps);
  const std::vector<Measure> measures = wanted_measures(q.spec, *source);
  const bool has_text =
      std::any_of(measures.begin(), measures.end(), [](Measure m) { return !is_proxy(m); });
  const bool has_likelihood =
      std::find(measures.begin(), measures.end(), Measure::perplexity) != measures.end();
  std::vector<Point> points = points_of(q, *source, result);
  const Store store(options.folder);
  std::vector<Point*> open;
  for (Point& p : points) {
    p.question = question_text(q, *source, p, measures, options.device);
    if (auto kept = store.find(p.question)) {
      p.result.measured = std::move(*kept);
      p.result.was_kept = true;
    } else {
      open.push_back(&p);
    }
  }
  // Generated text is compared with the whole cache's, which is then needed again.
  if (!open.empty() && open.front() != &points[0] && has_text && q.spec.generate > 0)
    open.insert(open.begin(), &points[0]);
  for (std::int32_t i = 0; i < result.sequences && !open.empty(); ++i) {
    kernels::Threads team(options.vulkan != nullptr ? 1 : options.threads);
    const Compute all(team, options.vulkan);
    if (options.progress)
      options.progress(
          fmt::format("sequence {} of {}: {} measurements", i + 1, result.sequences, open.size()));
    const Sequence sequence = source->sequence(i, all);
    const FullAttention full = full_attention(sequence, static_cast<std::int32_t>(q.spec.top), all);
    for (Point* p : open) p->tensors.emplace_back(), p->texts.emplace_back();
    const std::uint64_t seed = hash_combine(q.seed, static_cast<std::uint64_t>(i));
    run_tasks(open.size() * (has_text ? 2 : 1), options, [&](std::size_t t, const Compute& one) {
      Point& p = *open[t % open.size()];
      if (t < open.size())
        p.tensors.back() = measure_on(sequence, full, p.policies, measures, seed, one);
      else
        p.texts.back() = read_under(*source->model(), i, sequence, p.policies, has_likelihood,
                                    q.spec.generate, seed, one);
    });
  }
  const Point whole_cache = points[0];
  for (Point* p : open) {
    p->result.measured = {};
    finish(*p, whole_cache, measures, q.spec,
           index_and_state_bytes(p->policies, result.shape, result.prompt, result.steps));
    if (!p->result.was_kept) store.keep(p->question, p->result.measured);
  }
  for (Point& p : points) result.points.push_back(std::move(p.result));
  return result;
}

std::optional<double> total_of(const Measured& m, Measure measure, const std::string& statistic) {
  for (const Value& v : m.values)
    if (v.measure == measure && v.layer < 0 && v.head < 0 && v.step < 0 &&
        (statistic.empty() ? v.statistic == "mean" || v.statistic == "value"
                           : v.statistic == statistic))
      return v.value;
  return std::nullopt;
}

}  // namespace kvsim::quality
