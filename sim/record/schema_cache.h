#pragma once
// The table of a file that `kvsim cache -o` wrote: replays of a trace's block accesses through
// eviction policies. Such a file holds no run.
#include "sim/record/schema.h"

namespace kvsim {

const TableInfo& policy_replay_table();

}  // namespace kvsim
