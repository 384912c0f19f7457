#pragma once
// Small questions for tests of quality.
#include <gtest/gtest.h>

#include <filesystem>

#include "sim/quality/run.h"
#include "sim/scenario/yaml.h"

namespace kvsim::quality {

// A question from YAML; every mistake fails the test.
inline Question question_of(const std::string& yaml, const std::string& folder = "") {
  Diagnostics d;
  Reader r(d);
  QualitySpec spec;
  read_fields(spec, parse_yaml(yaml, "test", d), r);
  Question q = read_question(spec, folder, 1, std::nullopt, r);
  for (const Diagnostic& e : d.all()) ADD_FAILURE() << to_string(e);
  return q;
}

// All mistakes of a question, one a line.
inline std::string mistakes_of(const std::string& yaml, const std::string& folder = "") {
  Diagnostics d;
  Reader r(d);
  QualitySpec spec;
  read_fields(spec, parse_yaml(yaml, "test", d), r);
  if (d.empty()) (void)read_question(spec, folder, 1, std::nullopt, r);
  std::string all;
  for (const Diagnostic& e : d.all()) all += to_string(e) + "\n";
  return all;
}

inline const PointResult& point_of(const QualityResult& r, const std::string& policy,
                                   double budget = 0) {
  for (const PointResult& p : r.points)
    if (p.policy == policy && p.budget.value_or(0) == budget) return p;
  ADD_FAILURE() << "no point " << policy << " at " << budget;
  return r.points.front();
}
inline double value_of(const PointResult& p, Measure m) {
  const auto v = total_of(p.measured, m);
  EXPECT_TRUE(v.has_value()) << name_of(m);
  return v.value_or(-1);
}

}  // namespace kvsim::quality
