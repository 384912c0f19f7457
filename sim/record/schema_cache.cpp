#include "sim/record/schema_cache.h"

namespace kvsim {

const TableInfo& policy_replay_table() {
  static const TableInfo kTable{
      "policy_replay",
      "block accesses of a trace through an eviction policy, without timing",
      {{"trace", "TEXT NOT NULL", "its file"},
       {"hits_are", "TEXT NOT NULL CHECK (hits_are IN ('blocks', 'prefixes'))",
        "prefixes: a request hits its leading run of blocks only"},
       {"policy", "TEXT NOT NULL", "with the parameters that are not default"},
       {"is_bound", "INTEGER NOT NULL", "1: knows the whole future; for comparison"},
       {"capacity_blocks", "INTEGER NOT NULL", ""},
       {"accesses", "INTEGER NOT NULL", "of blocks, the first of each included"},
       {"hits", "INTEGER NOT NULL", ""}},
      "PRIMARY KEY (policy, capacity_blocks)"};
  return kTable;
}

}  // namespace kvsim
