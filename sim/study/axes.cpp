#include "sim/study/axes.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace kvsim {
namespace {

constexpr std::size_t kMostValues = 10'000;  // each is checked before anything runs

// Both ends in the base unit of the first dimension that takes both.
std::optional<Dimension> common_dimension(const std::string& from, const std::string& to,
                                          double& low, double& high) {
  constexpr std::array kAll{Dimension::none,      Dimension::ratio,     Dimension::time,
                            Dimension::bytes,     Dimension::bandwidth, Dimension::rate,
                            Dimension::flop_rate, Dimension::power,     Dimension::price};
  std::string ignored;
  for (const Dimension d : kAll) {
    const auto a = parse_quantity(d, from, ignored), b = parse_quantity(d, to, ignored);
    if (!a || !b) continue;
    low = *a;
    high = *b;
    return d;
  }
  return std::nullopt;
}

// Fewer digits than a double has, so that values stay readable.
std::string rounded_quantity(Dimension d, double value) {
  if (d == Dimension::bytes) {
    const double grain = std::exp2(std::max(std::floor(std::log2(std::max(value, 1.0))) - 10, 0.0));
    return print_count(d, std::llround(std::round(value / grain) * grain));
  }
  const double short_value = parse_double(fmt::format("{:.6g}", value)).value_or(value);
  return d == Dimension::time ? print_count(d, std::llround(short_value))
                              : print_quantity(d, short_value);
}

}  // namespace

std::string one_line(const Tree& t) {
  if (t.is_list() || t.is_map()) return to_json(t);
  std::string text = to_yaml(t);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

Axis::Axis(const AxisSpec& spec, const Tree& at, bool is_grid, Reader& r) : place_(at.place()) {
  read_paths(spec, at, r);
  const Tree* values = at.find("values");  // [] in the text that a database keeps
  const bool has_values = values != nullptr && !(values->is_list() && values->items().empty());
  const bool has_range = at.find("range") != nullptr;
  if (has_values == has_range)
    r.error(at, has_values ? "has both 'values' and 'range'" : "has neither 'values' nor 'range'",
            "for example: {path: engine.max_running, values: [64, 128]}");
  else if (spec.range)
    read_range(*spec.range, *at.find("range"), is_grid, r);
  else if (has_values && !paths_.empty())
    read_values(spec, *values, r);
}

void Axis::read_paths(const AxisSpec& spec, const Tree& at, Reader& r) {
  const Tree* given = at.find("path");
  if (given == nullptr || given->is_null())
    return r.error(at, "has no 'path'", "for example: path: cache.tiers.1.capacity");
  const Reader::Scope scope(r, "path");
  const auto add = [&](const Tree& one) {
    if (!one.is_scalar() || one.text().empty() || one.text().find('=') != std::string::npos)
      return r.error(one, "expected a path of the scenario, such as engine.max_running");
    if (one.text() == "seed")
      return r.error(one, "seeds are no axis", "give them as `seeds: [1, 2, 3]`");
    paths_.push_back(one.text());
  };
  if (given->is_list())
    for (const Tree& one : given->items()) add(one);
  else
    add(*given);
  if (given->is_list() && given->items().empty()) r.error(*given, "names no path");
  name_ = spec.name;
  if (!name_.empty()) return;
  for (const std::string& path : paths_) {
    name_ += name_.empty() ? "" : "+";
    name_ += path.substr(path.rfind('.') + 1);
  }
}

void Axis::read_values(const AxisSpec& spec, const Tree& at, Reader& r) {
  const Reader::Scope scope(r, "values");
  if (spec.values.empty()) return;  // no list: reported
  if (spec.values.size() > kMostValues)
    return r.error(
        at, fmt::format("{} values, at most {} are allowed", spec.values.size(), kMostValues));
  for (std::size_t i = 0; i < spec.values.size(); ++i) {
    const Tree& value = spec.values[i];
    const Reader::Scope item(r, std::to_string(i));
    std::vector<std::string>& texts = values_.emplace_back();
    places_.push_back(value.place());
    if (paths_.size() == 1) {
      texts.push_back(one_line(value));
    } else if (!value.is_list() || value.items().size() != paths_.size()) {
      r.error(value, fmt::format("expected a list of {}, one value for each path", paths_.size()));
    } else {
      for (const Tree& one : value.items()) texts.push_back(one_line(one));
    }
    if (std::find(values_.begin(), values_.end() - 1, texts) != values_.end() - 1)
      r.error(value, fmt::format("'{}' is there twice", one_line(value)));
  }
}

void Axis::read_range(const RangeSpec& spec, const Tree& at, bool is_grid, Reader& r) {
  const Reader::Scope scope(r, "range");
  Range range{};
  if (!spec.from.is_scalar() || !spec.to.is_scalar())
    return r.error(at, "needs 'from' and 'to'", "for example: range: {from: 8 GiB, to: 64 GiB}");
  range.from_text = spec.from.text();
  range.to_text = spec.to.text();
  const auto d = common_dimension(range.from_text, range.to_text, range.from, range.to);
  if (!d)
    return r.error(at, fmt::format("'{}' and '{}' are not two numbers, or two quantities of a kind",
                                   range.from_text, range.to_text));
  range.dimension = *d;
  range.is_log = spec.scale == Scale::log;
  range.is_whole = *d == Dimension::none && parse_int(range.from_text) && parse_int(range.to_text);
  if (!(range.from < range.to)) return r.error(at, "'from' is not below 'to'");
  if (range.is_log && range.from <= 0)
    return r.error(at, "a log range begins above 0", "give a 'from' above 0, or scale: linear");
  if (is_grid && !spec.steps)
    return r.error(at, "a grid needs 'steps'", "how many values, both ends among them");
  if (!is_grid && spec.steps)
    return r.error(at, "'steps' belongs to design: grid; other designs choose points themselves",
                   "remove it");
  range_ = range;
  for (std::int64_t i = 0; is_grid && i < *spec.steps; ++i) {
    const std::string text =
        quantity_at(static_cast<double>(i) / static_cast<double>(*spec.steps - 1));
    if (!values_.empty() && values_.back()[0] == text)
      return r.error(at, fmt::format("{} steps give '{}' twice", *spec.steps, text),
                     "ask for fewer steps");
    values_.emplace_back(paths_.size(), text);
    places_.push_back(at.place());
  }
}

std::string Axis::quantity_at(double u) const {
  if (u <= 0) return range_->from_text;
  if (u >= 1) return range_->to_text;
  const double value = range_->is_log ? range_->from * std::pow(range_->to / range_->from, u)
                                      : range_->from + u * (range_->to - range_->from);
  if (range_->is_whole) return fmt::format("{}", std::llround(value));
  return rounded_quantity(range_->dimension, value);
}

std::vector<std::string> Axis::at(double u) const {
  if (range_) return std::vector<std::string>(paths_.size(), quantity_at(u));
  const auto n = static_cast<double>(values_.size());
  return values_[static_cast<std::size_t>(std::clamp(std::floor(u * n), 0.0, n - 1))];
}

}  // namespace kvsim
