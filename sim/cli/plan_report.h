#pragma once
// A capacity plan's result for people and for programs.
#include <string>

#include "sim/study/plan.h"

namespace kvsim {

struct PlanReportOptions {
  bool all = false;  // every candidate and every evaluation
};

std::string plan_text(const PlanResult&, const PlanReportOptions&);
std::string plan_json(const PlanResult&);

}  // namespace kvsim
