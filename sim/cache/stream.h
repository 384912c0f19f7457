#pragma once
// A trace as a stream of accesses to blocks, without timing: what eviction policies are compared
// on.
#include <cstdint>
#include <vector>

#include "sim/base/time.h"
#include "sim/state/object_table.h"
#include "traces/trace_source.h"

namespace kvsim {

// Requests in order of arrival; the accesses of request r are access[begin[r] .. begin[r + 1]), in
// prefix order. Ids are dense in order of first appearance; objects.key is the content (the id
// itself in formats that carry ids), objects.parent what precedes it.
struct BlockStream {
  struct Origin {
    Time arrival{};
    std::uint64_t session = 0;
    std::uint32_t tenant = 0;
    std::int32_t priority = 0;
  };
  std::vector<ObjectId> access;
  std::vector<std::size_t> begin{0};  // one more than requests
  std::vector<Origin> request;
  ObjectTable objects;

  [[nodiscard]] std::size_t requests() const { return request.size(); }
};

struct StreamOptions {
  // Tokens of a block; 0 takes the trace's own segments (every hash id, the partial last one
  // included). A block is named by the segment that holds its last token and by how much of that
  // segment it covers, so traces of larger blocks share at their own grain.
  std::int64_t block_tokens = 0;
  Duration service = std::chrono::seconds(1);  // closed-loop sources: how long a request takes
};

// Reads the source to its end: the blocks of each prompt; outputs are no accesses.
BlockStream load_stream(TraceSource&, const StreamOptions& = {});

// For each access the position of the next access to the same object, or kNoNextUse
// (policies/eviction/eviction.h).
std::vector<std::int64_t> next_uses(const BlockStream&);

}  // namespace kvsim
