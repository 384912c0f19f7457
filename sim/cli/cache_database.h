#pragma once
// `kvsim cache -o FILE`: the counts of replays as a database, for `kvsim query` and `kvsim report`.
#include <cstdint>
#include <string>
#include <vector>

namespace kvsim {

struct PolicyCount {
  std::string policy;  // as printed
  std::int64_t capacity = 0;
  std::uint64_t accesses = 0, hits = 0;
};

// The file is complete or absent; an older one of that name is replaced. Throws InputError when it
// cannot be written, or two rows have the same policy and capacity.
void write_policy_counts(const std::string& path, const std::string& trace, bool prefixes,
                         const std::vector<PolicyCount>&);

}  // namespace kvsim
