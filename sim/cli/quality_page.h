#pragma once
// Results of `kvsim quality` for people and for programs.
#include <string>

#include "sim/quality/run.h"

namespace kvsim {

std::string quality_table_text(const quality::QualityResult&);
std::string quality_json(const std::string& name, const quality::QualityResult&);

}  // namespace kvsim
