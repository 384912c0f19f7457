#include "sim/cli/study_show.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "sim/cli/text_table.h"
#include "sim/study/sensitivity.h"

namespace kvsim {
namespace {

std::string number(const std::optional<double>& v) { return v ? fmt::format("{:.5g}", *v) : "-"; }
std::string exact(const std::optional<double>& v) { return v ? fmt::format("{}", *v) : ""; }

// Numbers of YAML flow values that were quoted for JSON's sake read better without.
std::string plain(const std::string& value) {
  std::string out;
  for (const char c : value)
    if (c != '"') out += c;
  return out;
}

std::vector<std::string> axis_values(const StudyPlan& plan, std::size_t point) {
  std::vector<std::string> cells(plan.axes().size());
  std::string last;
  for (const TrialParam& p : plan.params(point)) {
    std::string& cell = cells[p.axis];
    if (!cell.empty() && p.value == last) continue;  // paths that take the same quantity
    cell += (cell.empty() ? "" : ", ") + plain(p.value);
    last = p.value;
  }
  return cells;
}

bool is_shown(const PointResult& p, const ShowChoice& choice) {
  return !choice.front || p.on_front;
}

std::string verdict(const StudyPlan& plan, const PointResult& p) {
  if (p.trials == 0) return "not run";
  if (p.trials == p.failed) return "failed";
  if (!p.feasible.value_or(false)) return "no";
  return p.on_front && !plan.spec().objectives.empty() ? "front" : "yes";
}

bool fits(const std::string& text) {
  std::size_t start = 0;
  while (start < text.size()) {
    const std::size_t end = std::min(text.find('\n', start), text.size());
    if (display_width(std::string_view(text).substr(start, end - start)) > kTerminalWidth)
      return false;
    start = end + 1;
  }
  return true;
}

struct Grid {
  std::vector<std::string> names;
  std::vector<std::vector<std::string>> rows;
  [[nodiscard]] std::string as_table() const {
    TextTable table(names);
    for (const auto& row : rows) table.row(row);
    return table.text();
  }
  // Lines "name  value", a block a row: for what is wider than a terminal.
  [[nodiscard]] std::string as_blocks() const {
    std::string text;
    for (const auto& row : rows) {
      TextTable block({"", ""});
      for (std::size_t i = 0; i < names.size(); ++i)
        block.row({names[i].starts_with('>') ? names[i].substr(1) : names[i], row[i]});
      text += block.text() + "\n";
    }
    return text;
  }
};

std::vector<double> outcomes(const StudyResults& results, std::size_t objective) {
  std::vector<double> all;
  for (const PointResult& p : results.points)
    all.push_back(p.objectives[objective].value_or(std::numeric_limits<double>::quiet_NaN()));
  return all;
}

Tree real(double v) { return Tree::scalar(fmt::format("{}", v)); }
Tree optional_real(const std::optional<double>& v) { return v ? real(*v) : Tree{}; }
Tree text(std::string s) { return Tree::scalar(std::move(s), {}, true); }

Tree sensitivity_json(const StudyPlan& plan, const StudyResults& results) {
  Tree all = Tree::list();
  const bool is_morris = results.design == "morris";
  for (std::size_t o = 0; o < plan.spec().objectives.size(); ++o) {
    const std::vector<double> y = outcomes(results, o);
    const auto morris =
        is_morris ? morris_indices(plan.unit_points(), y) : std::vector<MorrisIndex>{};
    const auto sobol = is_morris ? SobolIndices{} : sobol_indices(plan.axes().size(), y);
    for (std::size_t a = 0; a < plan.axes().size(); ++a) {
      Tree one = Tree::map();
      one.set("objective", text(plan.spec().objectives[o].metric));
      one.set("axis", text(plan.axes()[a].name()));
      if (is_morris) {
        one.set("mu_star", real(morris[a].mu_star));
        one.set("mu", real(morris[a].mu));
        one.set("sigma", real(morris[a].sigma));
        one.set("effects", Tree::scalar(std::to_string(morris[a].effects)));
      } else {
        one.set("first", real(sobol.axes[a].first));
        one.set("first_margin", real(sobol.axes[a].first_margin));
        one.set("total", real(sobol.axes[a].total));
        one.set("total_margin", real(sobol.axes[a].total_margin));
        one.set("rows", Tree::scalar(std::to_string(sobol.rows)));
      }
      all.push(std::move(one));
    }
  }
  return all;
}

bool has_sensitivity(const StudyResults& r) {
  return r.design == "morris" || r.design == "saltelli";
}

}  // namespace

namespace {

// `brief` leaves out deviations and which way is better.
Grid study_grid(const StudyPlan& plan, const StudyResults& results, const ShowChoice& choice,
                bool brief, std::size_t& hidden) {
  const StudySpec& spec = plan.spec();
  Grid grid;
  grid.names = {">point"};
  for (const Axis& axis : plan.axes()) grid.names.push_back(">" + axis.name());
  const bool deviations = plan.seeds_per_point() > 1 && !brief;
  for (const ObjectiveSpec& o : spec.objectives) {
    grid.names.push_back(">" + o.metric + (brief ? "" : fmt::format(" ({})", name_of(o.goal))));
    if (deviations) grid.names.emplace_back(">+-");
  }
  for (const ConstraintSpec& c : spec.constraints)
    grid.names.push_back(fmt::format(">{} {} {}", c.metric, c.at_most ? "<=" : ">=",
                                     number(c.at_most ? c.at_most : c.at_least)));
  if (results.trials_failed > 0) grid.names.emplace_back(">failed");
  grid.names.emplace_back("good");
  hidden = 0;
  for (std::size_t i = 0; i < results.points.size(); ++i) {
    const PointResult& p = results.points[i];
    if (!is_shown(p, choice)) continue;
    if (choice.rows > 0 && grid.rows.size() >= choice.rows) {
      ++hidden;
      continue;
    }
    std::vector<std::string>& row = grid.rows.emplace_back();
    row.push_back(std::to_string(i + 1));
    for (std::string& cell : axis_values(plan, i)) row.push_back(std::move(cell));
    for (std::size_t o = 0; o < spec.objectives.size(); ++o) {
      row.push_back(number(p.objectives[o]));
      if (deviations) row.push_back(number(p.deviations[o]));
    }
    for (const auto& c : p.constraints) row.push_back(number(c));
    if (results.trials_failed > 0) row.push_back(std::to_string(p.failed));
    row.push_back(verdict(plan, p));
  }
  return grid;
}

}  // namespace

std::string study_table(const StudyPlan& plan, const StudyResults& results,
                        const ShowChoice& choice) {
  std::size_t hidden = 0;
  std::string out = study_grid(plan, results, choice, false, hidden).as_table();
  if (!fits(out)) out = study_grid(plan, results, choice, true, hidden).as_table();
  if (!fits(out)) out = study_grid(plan, results, choice, false, hidden).as_blocks();
  if (hidden > 0) out += fmt::format("... {} more points: --all shows them\n", hidden);
  return out;
}

std::string study_csv(const StudyPlan& plan, const StudyResults& results,
                      const ShowChoice& choice) {
  const auto field_of = [](const std::string& s) {
    if (s.find_first_of(",\"\n\r") == std::string::npos) return s;
    std::string out = "\"";
    for (const char c : s) out += c == '"' ? "\"\"" : std::string(1, c);
    return out + "\"";
  };
  const StudySpec& spec = plan.spec();
  std::string out = "point";
  for (const TrialParam& p : plan.params(0)) out += "," + field_of(p.path);
  for (const ObjectiveSpec& o : spec.objectives)
    out += fmt::format(",{0},{0}:std", field_of(o.metric));
  for (const ConstraintSpec& c : spec.constraints) out += "," + field_of(c.metric);
  out += ",trials,failed,feasible,on_front\r\n";
  for (std::size_t i = 0; i < results.points.size(); ++i) {
    const PointResult& p = results.points[i];
    if (!is_shown(p, choice)) continue;
    out += std::to_string(i + 1);
    for (const TrialParam& param : plan.params(i)) out += "," + field_of(param.value);
    for (std::size_t o = 0; o < spec.objectives.size(); ++o)
      out += "," + exact(p.objectives[o]) + "," + exact(p.deviations[o]);
    for (const auto& c : p.constraints) out += "," + exact(c);
    out += fmt::format(",{},{},{},{}\r\n", p.trials, p.failed,
                       p.feasible ? std::to_string(*p.feasible) : "", int{p.on_front});
  }
  return out;
}

std::string study_json(const StudyPlan& plan, const StudyResults& results,
                       const ShowChoice& choice) {
  const StudySpec& spec = plan.spec();
  const auto whole = [](std::size_t n) { return Tree::scalar(std::to_string(n)); };
  Tree all = Tree::map();
  all.set("name", text(results.name));
  all.set("design", text(results.design));
  all.set("status", text(results.status));
  all.set("trials", whole(plan.trials()));
  all.set("done", whole(results.trials_done));
  all.set("failed", whole(results.trials_failed));
  Tree points = Tree::list();
  for (std::size_t i = 0; i < results.points.size(); ++i) {
    const PointResult& p = results.points[i];
    if (!is_shown(p, choice)) continue;
    Tree one = Tree::map();
    one.set("point", whole(i + 1));
    Tree& sets = one.set("set", Tree::map());
    for (const TrialParam& param : plan.params(i)) sets.set(param.path, text(param.value));
    Tree& objectives = one.set("objectives", Tree::map());
    for (std::size_t o = 0; o < spec.objectives.size(); ++o) {
      Tree& value = objectives.set(spec.objectives[o].metric, Tree::map());
      value.set("mean", optional_real(p.objectives[o]));
      value.set("std", optional_real(p.deviations[o]));
    }
    Tree& constraints = one.set("constraints", Tree::map());
    for (std::size_t c = 0; c < spec.constraints.size(); ++c)
      constraints.set(spec.constraints[c].metric, optional_real(p.constraints[c]));
    one.set("trials", whole(p.trials));
    one.set("failed", whole(p.failed));
    one.set("feasible", p.feasible ? Tree::scalar(*p.feasible ? "true" : "false") : Tree{});
    one.set("on_front", Tree::scalar(p.on_front ? "true" : "false"));
    points.push(std::move(one));
  }
  all.set("points", std::move(points));
  if (has_sensitivity(results)) all.set("sensitivity", sensitivity_json(plan, results));
  return to_json(all, true) + "\n";
}

std::string sensitivity_table(const StudyPlan& plan, const StudyResults& results) {
  if (!has_sensitivity(results)) return {};
  const bool is_morris = results.design == "morris";
  std::string out;
  for (std::size_t o = 0; o < plan.spec().objectives.size(); ++o) {
    const std::vector<double> y = outcomes(results, o);
    const std::string& metric = plan.spec().objectives[o].metric;
    if (is_morris) {
      TextTable table({"axis", ">mu*", ">mu", ">sigma", ">effects"});
      const auto all = morris_indices(plan.unit_points(), y);
      for (std::size_t a = 0; a < all.size(); ++a)
        table.row({plan.axes()[a].name(), number(all[a].mu_star), number(all[a].mu),
                   number(all[a].sigma), std::to_string(all[a].effects)});
      out += fmt::format("\neffect on {} of moving an axis from one end to the other\n{}", metric,
                         table.text(2));
    } else {
      TextTable table({"axis", ">alone", ">+-", ">with others", ">+-"});
      const SobolIndices all = sobol_indices(plan.axes().size(), y);
      for (std::size_t a = 0; a < all.axes.size(); ++a) {
        const SobolIndex& s = all.axes[a];
        table.row({plan.axes()[a].name(), fmt::format("{:.3f}", s.first),
                   fmt::format("{:.3f}", s.first_margin), fmt::format("{:.3f}", s.total),
                   fmt::format("{:.3f}", s.total_margin)});
      }
      out += fmt::format(
          "\nshare of the variance of {} due to an axis (Sobol indices, {} of {} rows)\n{}", metric,
          all.rows, plan.points() / (plan.axes().size() + 2), table.text(2));
    }
  }
  return out;
}

}  // namespace kvsim
