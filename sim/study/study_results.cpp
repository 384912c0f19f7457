#include "sim/study/study_results.h"

#include <algorithm>
#include <cmath>

#include "sim/scenario/yaml.h"

namespace kvsim {
namespace {

// Mean and deviation of a metric over the trials of a point, so that equal values have themselves
// as mean (Welford 1962).
class Moments {
 public:
  void add(double v) {
    n_ += 1;
    const double off = v - mean_;
    mean_ += off / n_;
    squares_ += off * (v - mean_);
  }
  [[nodiscard]] std::optional<double> mean() const {
    return n_ > 0 ? std::optional(mean_) : std::nullopt;
  }
  [[nodiscard]] std::optional<double> deviation() const {
    return n_ > 1 ? std::optional(std::sqrt(squares_ / (n_ - 1))) : std::nullopt;
  }

 private:
  double n_ = 0, mean_ = 0, squares_ = 0;
};

std::vector<Moments> moments_of(Database& db, const std::string& metric, std::size_t points) {
  const std::size_t dot = metric.find('.');
  Statement s = db.prepare(
      "SELECT t.point, m.value FROM trial t JOIN trial_metric m USING (trial) WHERE m.scope = "
      "'run' AND m.name = ?1 AND m.statistic = ?2 ORDER BY t.trial");
  s.bind(1, std::string_view(metric).substr(0, dot));
  s.bind(2, dot == std::string::npos ? std::string_view("value")
                                     : std::string_view(metric).substr(dot + 1));
  std::vector<Moments> all(points);
  while (s.step()) {
    const auto point = static_cast<std::size_t>(s.integer(0) - 1);
    if (point >= points) throw InputError("the study database holds a point beyond its design");
    all[point].add(s.real(1));
  }
  return all;
}

void count_trials(Database& db, StudyResults& out) {
  Statement s = db.prepare("SELECT point, count(*), sum(status = 'failed') FROM trial GROUP BY 1");
  while (s.step()) {
    const auto point = static_cast<std::size_t>(s.integer(0) - 1);
    if (point >= out.points.size())
      throw InputError("the study database holds a point beyond its design");
    out.points[point].trials = static_cast<std::size_t>(s.integer(1));
    out.points[point].failed = static_cast<std::size_t>(s.integer(2));
    out.trials_done += out.points[point].trials;
    out.trials_failed += out.points[point].failed;
  }
}

// A point without a finished trial is unknown; one whose metric is missing keeps no constraint.
std::optional<bool> keeps(const StudySpec& spec, const PointResult& p) {
  if (p.trials == p.failed) return std::nullopt;
  for (std::size_t c = 0; c < spec.constraints.size(); ++c) {
    const auto& value = p.constraints[c];
    const ConstraintSpec& bound = spec.constraints[c];
    if (!value || (bound.at_most && *value > *bound.at_most) ||
        (bound.at_least && *value < *bound.at_least))
      return false;
  }
  return true;
}

void mark_front(const StudySpec& spec, StudyResults& out) {
  std::vector<Goal> goals;
  for (const ObjectiveSpec& o : spec.objectives) goals.push_back(o.goal);
  std::vector<std::vector<std::optional<double>>> rows;
  for (const PointResult& p : out.points)
    rows.push_back(p.feasible == true ? p.objectives
                                      : std::vector<std::optional<double>>(spec.objectives.size()));
  const std::vector<bool> front = pareto_front(rows, goals);
  for (std::size_t i = 0; i < out.points.size(); ++i) out.points[i].on_front = front[i];
}

}  // namespace

std::vector<bool> pareto_front(const std::vector<std::vector<std::optional<double>>>& rows,
                               const std::vector<Goal>& goals) {
  std::vector<bool> marked(rows.size());
  if (goals.empty()) return marked;
  std::vector<std::vector<double>> costs(rows.size());  // smaller is better; empty: has a gap
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (std::any_of(rows[i].begin(), rows[i].end(), [](const auto& v) { return !v; })) continue;
    for (std::size_t g = 0; g < goals.size(); ++g)
      costs[i].push_back(goals[g] == Goal::min ? *rows[i][g] : -*rows[i][g]);
    order.push_back(i);
  }
  // Sorted, nobody is dominated by a later row, so the front so far is all there is to compare
  // with.
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return std::pair(costs[a], a) < std::pair(costs[b], b);
  });
  std::vector<std::size_t> front;
  for (const std::size_t i : order) {
    const bool dominated = std::any_of(front.begin(), front.end(), [&](std::size_t f) {
      if (costs[f] == costs[i]) return false;
      for (std::size_t g = 0; g < goals.size(); ++g)
        if (costs[f][g] > costs[i][g]) return false;
      return true;
    });
    if (dominated) continue;
    front.push_back(i);
    marked[i] = true;
  }
  return marked;
}

StudyPlan stored_plan(Database& db) {
  std::string text;
  try {
    Statement s = db.prepare("SELECT study_text FROM study");
    if (s.step()) text = s.text(0);
  } catch (const SqlError&) {
  }
  if (text.empty())
    throw InputError("this database holds no study",
                     "`kvsim study run` writes one; `kvsim query` reads others");
  Diagnostics d;
  const LoadedStudy study = read_study(parse_yaml(text, "study_text", d), d);
  StudyPlan plan(study, d);
  d.throw_if_any();
  return plan;
}

StudyResults read_results(Database& db, const StudyPlan& plan) {
  StudyResults out;
  Statement study = db.prepare("SELECT name, design, status FROM study");
  if (study.step()) {
    out.name = study.text(0);
    out.design = study.text(1);
    out.status = study.text(2);
  }
  out.points.resize(plan.points());
  count_trials(db, out);
  const StudySpec& spec = plan.spec();
  for (const ObjectiveSpec& o : spec.objectives) {
    const std::vector<Moments> all = moments_of(db, o.metric, plan.points());
    for (std::size_t i = 0; i < all.size(); ++i) {
      out.points[i].objectives.push_back(all[i].mean());
      out.points[i].deviations.push_back(all[i].deviation());
    }
  }
  for (const ConstraintSpec& c : spec.constraints) {
    const std::vector<Moments> all = moments_of(db, c.metric, plan.points());
    for (std::size_t i = 0; i < all.size(); ++i) out.points[i].constraints.push_back(all[i].mean());
  }
  for (PointResult& p : out.points) p.feasible = keeps(spec, p);
  mark_front(spec, out);
  return out;
}

}  // namespace kvsim
