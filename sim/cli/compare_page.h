#pragma once
// A comparison for people (text), programs (JSON), and the paired requests as CSV.
#include <string>

#include "sim/study/compare.h"

namespace kvsim {

std::string compare_text(const CompareResult&);
std::string compare_json(const CompareResult&);
// One row a request that both sides faced; differences are B - A.
std::string paired_csv(const ComparedRuns&);

}  // namespace kvsim
