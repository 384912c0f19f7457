// The comparison in sentences.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "sim/study/compare.h"

namespace kvsim {
namespace {

std::string level(const CompareResult& r) {
  return fmt::format("{:g} % CI", r.options.confidence * 100);
}

std::string ms(double v) {
  return std::abs(v) >= 1000 ? fmt::format("{:.2f} s", v / 1000)
         : std::abs(v) >= 1  ? fmt::format("{:.1f} ms", v)
                             : fmt::format("{:.3f} ms", v);
}

// The two intervals nearly always agree; what is printed decides.
bool is_clear(const CompareRow& row) {
  return row.relative ? row.relative->is_clear() : row.difference && row.difference->is_clear();
}

std::string same_text(const CompareResult& r) {
  const std::string runs =
      r.seeds_a.size() > 1 ? fmt::format(" with each of {} seeds", r.seeds_a.size()) : "";
  if (!r.event_digest.empty())
    return fmt::format("No difference: both sides have the same events{} (digest {}{}).", runs,
                       r.event_digest, r.seeds_a.size() > 1 ? " with the first" : "");
  return fmt::format(
      "No difference: each of {} requests has the same times, hits and outcome on both sides{}.",
      r.requests_a, runs);
}

std::string main_sentence(const CompareResult& r, const CompareRow& row) {
  const std::string what = fmt::format("mean {}", latency_text(r.options.by));
  const double change = row.a > 0 ? row.b / row.a - 1 : 0;
  if (!row.difference)
    return fmt::format("{}: {} in A, {} in B; one pair is too few for an interval.", what,
                       ms(row.a), ms(row.b));
  if (!row.relative)
    return fmt::format("{} in {}: {} in A, {} in B, a difference of {} ({} {} .. {}).",
                       row.difference->is_clear() ? "A clear difference" : "No clear difference",
                       what, ms(row.a), ms(row.b), ms(row.b - row.a), level(r),
                       ms(row.difference->low), ms(row.difference->high));
  const Estimate& e = *row.relative;
  if (!e.is_clear())
    return fmt::format(
        "No clear difference in {}: {} in A, {} in B, {:+.2f} % ({} {:+.2f} .. {:+.2f} %).", what,
        ms(row.a), ms(row.b), change * 100, level(r), e.low * 100, e.high * 100);
  if (change > 1)
    return fmt::format(
        "The {} of B is {:.1f} times that of A ({} {:.1f} .. {:.1f}): {} instead of {}.", what,
        change + 1, level(r), e.low + 1, e.high + 1, ms(row.b), ms(row.a));
  const bool is_faster = change < 0;
  const double near = is_faster ? -e.high : e.low, far = is_faster ? -e.low : e.high;
  return fmt::format("B is {:.1f} % {} in {} ({} {:.1f} .. {:.1f} %): {} instead of {}.",
                     std::abs(change) * 100, is_faster ? "faster" : "slower", what, level(r),
                     near * 100, far * 100, ms(row.b), ms(row.a));
}

// The intervals that make most of it, and the largest that works against it.
std::string reasons(const CompareResult& r, const CompareRow& row) {
  const double total = row.b - row.a;
  std::vector<CompareRow> with, against;
  for (const CompareRow& p : r.parts) ((p.b - p.a) * total > 0 ? with : against).push_back(p);
  const auto by_size = [](const CompareRow& x, const CompareRow& y) {
    return std::abs(x.b - x.a) > std::abs(y.b - y.a);
  };
  std::ranges::stable_sort(with, by_size);
  std::ranges::stable_sort(against, by_size);
  const auto change = [](const CompareRow& p) {
    return fmt::format("{} {} {}", p.name, p.b < p.a ? "fell" : "rose", ms(std::abs(p.b - p.a)));
  };
  std::string text;
  double explained = 0;
  for (std::size_t i = 0; i < with.size() && i < 3 && explained < 0.9; ++i) {
    const double share = (with[i].b - with[i].a) / total;
    if (i > 0 && share < 0.1) break;
    explained += share;
    text += fmt::format("{}{} ({:.0f} %)", i == 0 ? "Mostly because " : ", ", change(with[i]),
                        share * 100);
  }
  if (text.empty()) return "";
  text += " a request";
  if (!against.empty() && std::abs(against[0].b - against[0].a) > 0.1 * std::abs(total))
    text += fmt::format(", although {}", change(against[0]));
  return text + ". ";
}

std::string plain_name(const CompareRow& row) {
  for (const auto& [latency, name] : enum_names(Latency{}))
    if (row.name == latency_metric(latency)) return fmt::format("mean {}", latency_text(latency));
  std::string text = row.name;
  std::ranges::replace(text, '_', ' ');
  return text;
}

// What else moved beyond its interval.
std::string other_changes(const CompareResult& r, const CompareRow& shown) {
  std::string text;
  for (const CompareRow& row : r.rows) {
    const bool is_main = row.statistic == "mean" || row.statistic == "value";
    if (&row == &shown || !is_main || !is_clear(row)) continue;
    const bool is_share = row.unit == "ratio";
    if (!is_share && !row.relative) continue;  // nothing to give in percent
    const double change = is_share ? (row.b - row.a) * 100 : (row.b / row.a - 1) * 100;
    if (std::abs(change) < 0.05) continue;
    text += fmt::format("{}{} {:+.1f} {}", text.empty() ? "Also clear: " : ", ", plain_name(row),
                        change, is_share ? "points" : "%");
  }
  return text.empty() ? "" : text + ". ";
}

std::string counts(const CompareResult& r) {
  const Changes& c = r.changes;
  const std::size_t all = c.gained + c.lost + c.same;
  if (all == 0) return "";
  std::string text =
      fmt::format("Of {} requests{} {} are faster by more than {:g} %, {} slower, {} neither. ",
                  all, r.seeds_a.size() > 1 ? " of the first seed" : "", c.gained,
                  kSameWithin * 100, c.lost, c.same);
  if (r.only_a + r.only_b > 0)
    text += fmt::format(
        "{} finished only in A, {} only in B: latencies are those of the {} that "
        "finished in both. ",
        r.only_a, r.only_b, r.finished_both);
  return text;
}

}  // namespace

std::string verdict(const CompareResult& r) {
  if (r.method == CompareMethod::same) return same_text(r);
  const CompareRow& row = headline(r);
  std::string text = main_sentence(r, row) + " ";
  if (is_clear(row)) text += reasons(r, row);
  text += counts(r) + other_changes(r, row);
  while (!text.empty() && text.back() == ' ') text.pop_back();
  return text;
}

}  // namespace kvsim
