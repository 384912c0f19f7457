#include "traces/generate/lengths.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "sim/base/registry.h"
#include "traces/trace_source.h"

namespace kvsim {

bool Codec<LengthParams>::read(const Tree& t, LengthParams& out, Reader& r) {
  if (!t.is_scalar()) return read_fields(out, t, r);
  Tree whole = Tree::map();
  whole.set("value", t);
  return read_fields(out, whole, r);
}

Tree Codec<LengthParams>::write(const LengthParams& v) { return write_fields(v); }

TypeInfo Codec<LengthParams>::info() {
  TypeInfo i;
  i.shape = TypeInfo::Shape::map;
  i.name = "a number, or a law";
  i.json_type = "integer";
  i.fields = describe_fields<LengthParams>();
  return i;
}
namespace {

constexpr std::size_t kMaxRanks = 1'000'000;
constexpr std::size_t kMaxRows = 10'000'000;  // of a trace whose lengths are drawn

std::size_t place_of(const std::vector<double>& cumulative, double u) {
  const auto at = std::upper_bound(cumulative.begin(), cumulative.end(), u * cumulative.back()) -
                  cumulative.begin();
  return std::min(static_cast<std::size_t>(at), cumulative.size() - 1);
}

std::vector<std::int64_t> read_lengths(const LengthParams& p, const std::string& name,
                                       const std::string& folder, TraceLength which) {
  if (p.file.empty() || p.format.empty())
    throw InputError(name + ": law 'trace' needs 'file' and 'format'");
  const PluginInfo* info = Registry::instance().find(TraceSource::kKind, p.format);
  if (info == nullptr)
    throw InputError(fmt::format("{}.format: unknown trace-format '{}'", name, p.format),
                     name_hint(p.format, Registry::instance().names(TraceSource::kKind)));
  TraceSource::Context context;
  context.path = (std::filesystem::path(folder) / p.file).string();
  Tree params = Tree::map();
  if (std::any_of(info->fields.begin(), info->fields.end(),
                  [](const FieldInfo& f) { return f.name == "rate"; }))
    params.set("rate", Tree::scalar("1 /s"));  // arrivals do not matter here
  const auto source = Registry::instance().make<TraceSource>(p.format, params, context);
  std::vector<std::int64_t> lengths;
  Request r;
  while (const auto at = source->next_arrival()) {
    source->pop(r);
    source->finished(r.index, *at);
    lengths.push_back(which == TraceLength::prompt ? r.prompt_tokens : r.output_tokens);
    if (lengths.size() > kMaxRows)
      throw InputError(fmt::format("{}: the trace has more than {} requests", name, kMaxRows));
  }
  return lengths;
}

}  // namespace

ZipfRanks::ZipfRanks(std::size_t n, double exponent) {
  cumulative_.reserve(n);
  double sum = 0;
  for (std::size_t k = 1; k <= n; ++k)
    cumulative_.push_back(sum += std::pow(static_cast<double>(k), -exponent));
}

std::size_t ZipfRanks::draw(Rng& rng) const { return place_of(cumulative_, rng.uniform()); }

LengthLaw::LengthLaw(const LengthParams& p, const std::string& name, const std::string& folder,
                     TraceLength which)
    : params_(p) {
  if (p.min > p.max)
    throw InputError(fmt::format("{}: min {} is above max {}", name, p.min, p.max));
  switch (p.law) {
    case LengthKind::constant:
      if (!p.value) throw InputError(name + ": law 'constant' needs 'value'");
      break;
    case LengthKind::uniform:
      break;
    case LengthKind::lognormal:
      if (p.mean.has_value() == p.median.has_value())
        throw InputError(
            name + ": law 'lognormal' needs either 'mean' (with cv) or 'median' (with sigma)");
      if (p.mean) {
        const double cv = p.cv.value_or(1.0);
        sigma_ = std::sqrt(std::log1p(cv * cv));
        mu_ = std::log(*p.mean) - 0.5 * sigma_ * sigma_;
      } else {
        sigma_ = p.sigma.value_or(1.0);
        mu_ = std::log(*p.median);
      }
      break;
    case LengthKind::zipf:
      if (static_cast<std::uint64_t>(p.max - p.min) >= kMaxRanks)
        throw InputError(fmt::format("{}: law 'zipf' takes at most {} numbers from min to max",
                                     name, kMaxRanks));
      zipf_ = std::make_shared<const ZipfRanks>(static_cast<std::size_t>(p.max - p.min + 1),
                                                p.exponent);
      break;
    case LengthKind::empirical: {
      if (p.values.empty()) throw InputError(name + ": law 'empirical' needs 'values'");
      if (!p.weights.empty() && p.weights.size() != p.values.size())
        throw InputError(
            fmt::format("{}: {} weights for {} values", name, p.weights.size(), p.values.size()));
      double sum = 0;
      for (std::size_t i = 0; i < p.values.size(); ++i)
        cumulative_.push_back(sum += p.weights.empty() ? 1.0 : p.weights[i]);
      if (!(sum > 0)) throw InputError(name + ": the weights sum to 0");
      break;
    }
    case LengthKind::trace:
      lengths_ = read_lengths(p, name, folder, which);
      break;
  }
}

std::int64_t LengthLaw::draw(Rng rng, Rng rows) const {
  const auto& p = params_;
  std::int64_t n = 0;
  switch (p.law) {
    case LengthKind::constant:
      n = *p.value;
      break;
    case LengthKind::uniform:
      n = p.min +
          static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(p.max - p.min) + 1));
      break;
    case LengthKind::lognormal:
      n = std::llround(std::min(rng.lognormal(mu_, sigma_), 1e12));
      break;
    case LengthKind::zipf:
      n = p.min + static_cast<std::int64_t>(zipf_->draw(rng));
      break;
    case LengthKind::empirical:
      n = p.values[place_of(cumulative_, rng.uniform())];
      break;
    case LengthKind::trace:
      n = lengths_[rows.below(lengths_.size())];
      break;
  }
  return std::clamp(n, p.min, p.max);
}

}  // namespace kvsim
