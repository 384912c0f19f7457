#pragma once
// Messages between the ranks of a team. All ranks run the same program on the same kind of machine:
// numbers travel as they lie in memory.
#include <optional>
#include <string>
#include <vector>

#include "sim/study/runner.h"

namespace kvsim {

// To rank 0: an `ask` for `slots` jobs, or a `result`. From rank 0: `jobs` (perhaps none yet), or
// `stop`.
struct Message {
  enum class Kind : char { ask = 'a', result = 'r', jobs = 'j', stop = 's' };
  Kind kind = Kind::ask;
  std::uint32_t slots = 0;
  std::vector<TrialJob> jobs;
  std::size_t trial = 0;
  TrialResult result;  // without requests, and with the metrics of scopes run and no-offload
};

std::string pack(const Message&);
// Nothing when the bytes are no message.
std::optional<Message> unpack(std::string_view);

}  // namespace kvsim
