#pragma once
// What `kvsim cache --prefix` prints: prefix hits of policies, the bound beside them, and whose
// fault the misses are.
#include <string>
#include <vector>

#include "sim/cache/bounds.h"
#include "sim/cache/prefix_replay.h"

namespace kvsim {

struct PrefixRow {
  std::string policy;
  std::int64_t capacity = 0;
  MissClasses classes;
};

// One policy (with its parameters, as `label`) to be replayed.
struct PrefixPolicy {
  std::string label, name;
  Tree params;
};

// For every capacity the optimum (policy "optimum"), then the policies in their order.
std::vector<PrefixRow> replay_prefixes(const BlockStream&, const PrefixReplayOptions&,
                                       std::uint64_t seed, const std::vector<PrefixPolicy>&,
                                       const std::vector<std::int64_t>& capacities);
std::string prefix_rows_text(const std::vector<PrefixRow>&);
std::string prefix_rows_csv(const std::vector<PrefixRow>&);
std::string prefix_rows_json(const std::vector<PrefixRow>&);  // the items of a list
// A markdown table: policies down, capacities across, hits in percent of all accesses.
std::string prefix_rows_markdown(const std::vector<PrefixRow>&);

}  // namespace kvsim
