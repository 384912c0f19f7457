// Studies: the points of a design, their objectives, the Pareto front, heat maps over the axes.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>

#include "sim/record/render.h"
#include "sim/report/sections.h"

namespace kvsim::report {
namespace {

constexpr std::int64_t kMostPoints = 20'000;  // that are read
constexpr std::size_t kMostRows = 500;        // of the table
constexpr std::size_t kMostDots = 2000;       // of the scatter besides the front
constexpr std::size_t kMostValues = 24;       // of an axis of a heat map
constexpr std::size_t kMostMetrics = 6;

struct Goal {
  std::string metric, name, statistic, unit;
  std::string wanted;  // min or max of an objective
  std::string bounds;  // "; at most 900" of constraints
  [[nodiscard]] bool is_objective() const { return !wanted.empty(); }
  [[nodiscard]] std::string title() const {
    return unit.empty() || unit == "count" ? metric : metric + ", " + unit;
  }
};

struct Point {
  std::int64_t id = 0;
  double feasible = kNone, on_front = kNone;
  std::int64_t trials = 0, failed = 0;
  std::vector<std::string> values;  // one an axis
  std::vector<double> metrics;      // one a goal: mean over the seeds
};

struct Study {
  std::string name, design, status, text;
  std::int64_t points_in_all = 0;
  std::vector<std::string> axes;  // the paths that move together
  std::vector<Goal> goals;
  std::vector<Point> points;
  [[nodiscard]] Point* find(std::int64_t id) {
    const auto at = std::lower_bound(points.begin(), points.end(), id,
                                     [](const Point& p, std::int64_t i) { return p.id < i; });
    return at != points.end() && at->id == id ? &*at : nullptr;
  }
};

Goal goal_of(const std::string& metric) {
  Goal g{metric, metric, "value", "", "", ""};
  if (const std::size_t dot = metric.rfind('.'); dot != std::string::npos) {
    g.name = metric.substr(0, dot);
    g.statistic = metric.substr(dot + 1);
  }
  return g;
}

// The goal of a metric, which is added if it is not there.
Goal& goal_with(Study& study, const std::string& metric) {
  for (Goal& g : study.goals)
    if (g.metric == metric) return g;
  return study.goals.emplace_back(goal_of(metric));
}

// What the study asks for; without objectives what most people would.
void read_goals(File& file, Study& study) {
  if (file.has("study_goal"))
    file.each(
        "SELECT substr(metric, 1, 80), goal, bound FROM study_goal ORDER BY goal NOT IN ('min', "
        "'max'), rowid LIMIT 12",
        {}, [&](const Statement& s) {
          Goal& g = goal_with(study, printable(s.text(0)));
          const std::string goal = printable(s.text(1));
          if (goal == "min" || goal == "max")
            g.wanted = goal;
          else
            g.bounds += fmt::format(" Constraint: {} {} {:g}.", g.metric, words(goal), s.real(2));
        });
  if (study.goals.empty())
    for (const char* metric : {"request_goodput", "ttft_ms.p99", "tpot_ms.p99"})
      goal_with(study, metric);
  const bool has_hits = std::any_of(study.goals.begin(), study.goals.end(), [](const Goal& g) {
    return g.metric.find("hit_rate") != std::string::npos;
  });
  for (const std::string& axis : study.axes)
    if (!has_hits && axis.find("eviction") != std::string::npos)
      goal_with(study, "prefix_hit_rate");
  if (study.goals.size() > kMostMetrics) study.goals.resize(kMostMetrics);
}

void read_points(File& file, Study& study) {
  file.each(
      fmt::format(
          "SELECT point, min(feasible), min(on_front), count(*), "
          "sum(status = 'failed') FROM trial WHERE point BETWEEN 1 AND {} GROUP BY point ORDER "
          "BY point",
          kMostPoints),
      {}, [&](const Statement& s) {
        study.points.push_back({s.integer(0), real_or_none(s, 1), real_or_none(s, 2), s.integer(3),
                                s.integer(4), std::vector<std::string>(study.axes.size()),
                                std::vector<double>(study.goals.size(), kNone)});
      });
  file.each(
      fmt::format(
          "SELECT t.point, p.axis, group_concat(substr(p.value, 1, 60), ', ') FROM "
          "trial_param p JOIN trial t USING (trial) WHERE t.trial IN (SELECT "
          "min(trial) FROM trial WHERE point BETWEEN 1 AND {} GROUP BY point) GROUP BY t.point, "
          "p.axis",
          kMostPoints),
      {}, [&](const Statement& s) {
        const auto axis = static_cast<std::size_t>(std::max<std::int64_t>(s.integer(1), 1));
        Point* point = study.find(s.integer(0));
        if (point != nullptr && axis <= study.axes.size())
          point->values[axis - 1] = printable(s.text(2));
      });
  for (std::size_t g = 0; g < study.goals.size(); ++g) {
    Goal& goal = study.goals[g];
    file.each(
        fmt::format("SELECT t.point, avg(m.value), min(m.unit) FROM trial_metric m JOIN trial t "
                    "USING (trial) WHERE m.scope = 'run' AND m.name = ?1 AND m.statistic = ?2 AND "
                    "t.status = 'finished' AND t.point BETWEEN 1 AND {} GROUP BY t.point",
                    kMostPoints),
        [&](Statement& s) {
          s.bind(1, std::string_view(goal.name));
          s.bind(2, std::string_view(goal.statistic));
        },
        [&](const Statement& s) {
          if (Point* point = study.find(s.integer(0))) point->metrics[g] = real_or_none(s, 1);
          goal.unit = printable(s.text(2));
        });
  }
}

Study read_study(File& file) {
  Study study;
  file.each(
      "SELECT substr(name, 1, 200), design, status, points, substr(study_text, 1, 100000) "
      "FROM study LIMIT 1",
      {}, [&](const Statement& s) {
        study.name = printable(s.text(0));
        study.design = printable(s.text(1));
        study.status = printable(s.text(2));
        study.points_in_all = s.integer(3);
        study.text = printable(s.text(4), true);
      });
  file.each(
      "SELECT group_concat(path, ', ') FROM (SELECT DISTINCT axis, substr(path, 1, 80) AS "
      "path FROM trial_param) GROUP BY axis ORDER BY axis LIMIT 20",
      {}, [&](const Statement& s) { study.axes.push_back(printable(s.text(0))); });
  read_goals(file, study);
  read_points(file, study);
  return study;
}

std::string point_name(const Study& study, const Point& p) {
  std::string out;
  for (std::size_t a = 0; a < study.axes.size(); ++a) out += (a > 0 ? "; " : "") + p.values[a];
  return out;
}

std::string yes_or_no(double flag) { return std::isnan(flag) ? "–" : flag > 0 ? "yes" : "no"; }

Table point_table(const Study& study, const std::string& id) {
  Table t{id + "-points", "Points", "Means over the seeds of a point.", {"point"}, {}};
  for (const std::string& axis : study.axes) t.columns.push_back(axis);
  for (const Goal& g : study.goals)
    t.columns.push_back(g.title() + (g.is_objective() ? " (" + g.wanted + ")" : ""));
  for (const char* name : {"keeps the constraints", "Pareto front", "failed trials"})
    t.columns.emplace_back(name);
  for (const Goal& g : study.goals) t.text += g.bounds;
  std::vector<const Point*> order;
  for (const Point& p : study.points) order.push_back(&p);
  std::stable_sort(order.begin(), order.end(), [](const Point* a, const Point* b) {
    return (a->on_front > 0) > (b->on_front > 0);
  });
  if (order.size() > kMostRows) {
    t.text += fmt::format(" The Pareto front and the first of the others, {} of {}.", kMostRows,
                          study.points_in_all);
    order.resize(kMostRows);
  }
  for (const Point* p : order) {
    std::vector<Cell>& row = t.rows.emplace_back();
    row.push_back(count_cell(static_cast<double>(p->id)));
    for (const std::string& value : p->values) row.push_back(text_cell(value));
    for (const double v : p->metrics)
      row.push_back(std::isnan(v) ? text_cell("–") : Cell{fmt::format("{:.5g}", v), v});
    row.push_back(text_cell(yes_or_no(p->feasible)));
    row.push_back(text_cell(yes_or_no(p->on_front)));
    row.push_back({fmt::format("{} of {}", p->failed, p->trials), static_cast<double>(p->failed)});
  }
  return t;
}

// The first two objectives against each other.
std::optional<Chart> pareto_chart(const Study& study, const std::string& id) {
  std::vector<std::size_t> objectives;
  for (std::size_t g = 0; g < study.goals.size(); ++g)
    if (study.goals[g].is_objective()) objectives.push_back(g);
  if (objectives.size() < 2) return std::nullopt;
  const Goal &gx = study.goals[objectives[0]], &gy = study.goals[objectives[1]];
  Chart c;
  c.id = id + "-pareto";
  c.title = "Pareto front";
  c.text = fmt::format(
      "Every point of the study; wanted: {} {}, {} {}. On the front no other point "
      "that keeps the constraints is better in both.",
      gx.wanted, gx.metric, gy.wanted, gy.metric);
  c.kind = Chart::Kind::points;
  c.x.title = gx.title();
  c.y.title = gy.title();
  Series front{"Pareto front", {}, {}, {}, {}, 1, true},
      kept{"other points", {}, {}, {}, {}, 0, false},
      broken{"break a constraint", {}, {}, {}, {}, kGrey, false};
  std::vector<const Point*> order;
  for (const Point& p : study.points)
    if (!std::isnan(p.metrics[objectives[0]]) && !std::isnan(p.metrics[objectives[1]]))
      order.push_back(&p);
  std::stable_sort(order.begin(), order.end(), [&](const Point* a, const Point* b) {
    return a->metrics[objectives[0]] < b->metrics[objectives[0]];
  });
  for (const Point* p : order) {
    Series& s = p->on_front > 0 ? front : p->feasible == 0 ? broken : kept;
    if (&s != &front && s.x.size() >= kMostDots) continue;
    s.x.push_back(p->metrics[objectives[0]]);
    s.y.push_back(p->metrics[objectives[1]]);
    s.labels.push_back(point_name(study, *p));
  }
  for (Series* s : {&front, &kept, &broken})
    if (!s->x.empty()) c.series.push_back(std::move(*s));
  return c.series.empty() ? std::nullopt : std::optional(std::move(c));
}

// Empty for what is no bare number, such as "4 GiB".
std::optional<double> as_number(const std::string& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// Values of an axis: numbers by size, others in the order of the design.
std::vector<std::string> values_of(const Study& study, std::size_t axis) {
  std::vector<std::string> values;
  for (const Point& p : study.points)
    if (std::find(values.begin(), values.end(), p.values[axis]) == values.end()) {
      if (values.size() > kMostValues) break;
      values.push_back(p.values[axis]);
    }
  const auto is_number = [](const std::string& v) { return as_number(v).has_value(); };
  if (std::all_of(values.begin(), values.end(), is_number))
    std::sort(values.begin(), values.end(), [](const std::string& a, const std::string& b) {
      return *as_number(a) < *as_number(b);
    });
  return values;
}

// Mean of a goal over the points at each pair of values (`across` may be none: one value).
std::vector<double> means(const Study& study, std::size_t goal, std::size_t down,
                          const std::vector<std::string>& rows, std::optional<std::size_t> across,
                          const std::vector<std::string>& columns) {
  const std::size_t width = across ? columns.size() : 1;
  std::vector<double> sum(rows.size() * width, 0), count(rows.size() * width, 0);
  for (const Point& p : study.points) {
    if (std::isnan(p.metrics[goal])) continue;
    const auto row = static_cast<std::size_t>(std::find(rows.begin(), rows.end(), p.values[down]) -
                                              rows.begin());
    const auto column =
        across ? static_cast<std::size_t>(
                     std::find(columns.begin(), columns.end(), p.values[*across]) - columns.begin())
               : 0;
    sum[row * width + column] += p.metrics[goal];
    ++count[row * width + column];
  }
  for (std::size_t i = 0; i < sum.size(); ++i) sum[i] = count[i] > 0 ? sum[i] / count[i] : kNone;
  return sum;
}

// A heat map a goal over the first two axes with few values; bars where there is only one such.
void add_maps(const Study& study, const std::string& id, Section& section) {
  std::vector<std::size_t> axes;
  std::vector<std::vector<std::string>> values;
  for (std::size_t a = 0; a < study.axes.size() && axes.size() < 2; ++a)
    if (auto v = values_of(study, a); v.size() >= 2 && v.size() <= kMostValues) {
      axes.push_back(a);
      values.push_back(std::move(v));
    }
  if (axes.empty()) return;
  for (std::size_t g = 0; g < study.goals.size(); ++g) {
    const Goal& goal = study.goals[g];
    if (std::all_of(study.points.begin(), study.points.end(),
                    [&](const Point& p) { return std::isnan(p.metrics[g]); }))
      continue;
    Chart c;
    c.id = fmt::format("{}-map-{}", id, g + 1);
    c.title = goal.title();
    c.text = study.axes.size() > axes.size() ? "Means over the seeds and the axes not shown."
                                             : "Means over the seeds.";
    c.y = {study.axes[axes[0]], false, {}, {}, values[0]};
    Series s{goal.metric, {}, {}, {}, {}, 0, false};
    if (axes.size() == 2) {
      c.kind = Chart::Kind::heat;
      c.x = {study.axes[axes[1]], false, {}, {}, values[1]};
      c.heat_unit = goal.unit;
      s.y = means(study, g, axes[0], values[0], axes[1], values[1]);
    } else {
      c.kind = Chart::Kind::bars;
      c.x.title = goal.title();
      s.y = means(study, g, axes[0], values[0], std::nullopt, {});
    }
    c.series.push_back(std::move(s));
    section.parts.emplace_back(std::move(c));
  }
}

}  // namespace

std::vector<Section> study_sections(const Source& source) {
  std::vector<Section> sections;
  for (const auto& file : source.files()) {
    if (!file->has_rows("study") || !file->has_rows("trial")) continue;
    const Study study = read_study(*file);
    const std::string id = fmt::format("study-{}", sections.size() + 1);
    Section section{
        id,
        "Study " + study.name,
        fmt::format("Design {}, {} points, {}.", study.design, study.points_in_all, study.status),
        {}};
    if (auto c = pareto_chart(study, id)) section.parts.emplace_back(std::move(*c));
    add_maps(study, id, section);
    section.parts.emplace_back(point_table(study, id));
    section.parts.emplace_back(
        Text{id + "-text", "The study file, every default filled in", study.text});
    sections.push_back(std::move(section));
  }
  return sections;
}

}  // namespace kvsim::report
