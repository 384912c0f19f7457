#pragma once
// The tables of a study, beside those of a run: schema.h lists them all.
#include <vector>

#include "sim/record/schema.h"

namespace kvsim {

const std::vector<TableInfo>& study_tables();

}  // namespace kvsim
