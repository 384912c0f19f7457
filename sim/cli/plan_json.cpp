#include <fmt/format.h>

#include <cmath>

#include "sim/cli/describe.h"
#include "sim/cli/plan_report.h"

namespace kvsim {

namespace {

Tree number(double v) { return std::isfinite(v) ? Tree::scalar(fmt::format("{}", v)) : Tree{}; }
Tree count(std::size_t n) { return Tree::scalar(std::to_string(n)); }
Tree truth(bool v) { return Tree::scalar(v ? "true" : "false"); }

const char* name_of_verdict(PlanVerdict v) {
  return v == PlanVerdict::met ? "met" : v == PlanVerdict::missed ? "missed" : "undecided";
}

Tree evaluation_tree(const PlanResult& r, const PlanEvaluation& e) {
  const PlanSpec& spec = r.plan.spec;
  const std::vector<PlanObjective> objectives = all_objectives(spec);
  const PlanCandidate& c = r.candidates[e.candidate];
  Tree t = Tree::map();
  t.set("candidate", count(e.candidate));
  if (const auto n = plan_replicas(spec, e.level))
    t.set("replicas", Tree::scalar(std::to_string(*n)));
  if (const auto rate = plan_rate(spec, e.level)) t.set("rate_scale", number(*rate));
  t.set("met", truth(e.met));
  t.set("runs", Tree::scalar(std::to_string(e.runs)));
  t.set("in_search", truth(e.in_search));
  Tree findings = Tree::list();
  for (std::size_t i = 0; i < objectives.size(); ++i) {
    const PlanFinding& f = e.findings[i];
    Tree one = Tree::map();
    one.set("objective", json_text(objectives[i].text));
    one.set("metric", json_text(objectives[i].metric));
    one.set("limit", number(objectives[i].limit));
    one.set("value", number(f.value));
    one.set("low", f.interval ? number(f.low) : Tree{});
    one.set("high", f.interval ? number(f.high) : Tree{});
    one.set("margin", number(margin_of(f, objectives[i])));
    one.set("at_best", i < c.best.size() && c.best[i] ? number(*c.best[i]) : Tree{});
    one.set("verdict", json_text(name_of_verdict(f.verdict)));
    findings.push(std::move(one));
  }
  t.set("objectives", std::move(findings));
  Tree figures = Tree::map();
  for (const auto& [name, v] : e.figures) figures.set(name, number(v));
  t.set("figures", std::move(figures));
  return t;
}

Tree candidate_tree(const PlanResult& r, std::size_t i) {
  const PlanCandidate& c = r.candidates[i];
  const PlanSpec& spec = r.plan.spec;
  Tree t = Tree::map();
  t.set("candidate", count(i));
  Tree options = Tree::map();
  for (std::size_t k = 0; k < c.options.size(); ++k)
    options.set(r.plan.choices[k].name, json_text(c.options[k]));
  t.set("options", std::move(options));
  Tree sets = Tree::list();
  for (const std::string& s : c.sets) sets.push(json_text(s));
  t.set("set", std::move(sets));
  t.set("infeasible", c.infeasible.empty() ? Tree{} : json_text(c.infeasible));
  if (c.bound < c.levels) {
    if (const auto n = plan_replicas(spec, c.bound))
      t.set("bound_replicas", count(static_cast<std::size_t>(*n)));
    if (const auto rate = plan_rate(spec, c.bound)) t.set("bound_rate_scale", number(*rate));
  }
  if (c.found) {
    if (const auto n = plan_replicas(spec, *c.found))
      t.set("replicas", count(static_cast<std::size_t>(*n)));
    if (const auto rate = plan_rate(spec, *c.found)) t.set("rate_scale", number(*rate));
  }
  return t;
}

}  // namespace

std::string plan_json(const PlanResult& r) {
  Tree t = Tree::map();
  t.set("plan", json_text(r.plan.spec.name));
  t.set("answer", r.answer ? evaluation_tree(r, r.at(*r.answer)) : Tree{});
  t.set("alternative", r.alternative ? evaluation_tree(r, r.at(*r.alternative)) : Tree{});
  t.set("runs", Tree::scalar(std::to_string(r.runs)));
  t.set("pairs", count(r.pairs));
  t.set("bound_holds", truth(r.bound_holds));
  if (r.exhaustive) {
    Tree x = Tree::map();
    x.set("runs", Tree::scalar(std::to_string(r.exhaustive->runs)));
    x.set("agrees", truth(r.exhaustive->agrees));
    Tree remarks = Tree::list();
    for (const std::string& s : r.exhaustive->remarks) remarks.push(json_text(s));
    x.set("remarks", std::move(remarks));
    t.set("exhaustive", std::move(x));
  }
  Tree notes = Tree::list();
  for (const std::string& s : r.notes) notes.push(json_text(s));
  t.set("notes", std::move(notes));
  Tree candidates = Tree::list();
  for (std::size_t i = 0; i < r.candidates.size(); ++i) candidates.push(candidate_tree(r, i));
  t.set("candidates", std::move(candidates));
  Tree evaluations = Tree::list();
  for (const PlanEvaluation& e : r.evaluations) evaluations.push(evaluation_tree(r, e));
  t.set("evaluations", std::move(evaluations));
  return to_json(t, true) + "\n";
}

}  // namespace kvsim
