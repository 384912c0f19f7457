#pragma once
// A trace as a stream of accesses to blocks, without timing: what eviction policies are compared
// on.
#include <cstdint>
#include <vector>

#include "sim/base/time.h"
#include "sim/state/object_table.h"

namespace kvsim {

// Requests in order of arrival; the accesses of request r are access[begin[r] .. begin[r + 1]), in
// prefix order. Ids are dense in order of first appearance; objects.key is the content (the id
// itself in formats that carry ids), objects.parent what precedes it.
struct BlockStream {
  struct Origin {
    Time arrival{};
    std::uint64_t session = 0;
    std::uint32_t tenant = 0;
  };
  std::vector<ObjectId> access;
  std::vector<std::size_t> begin{0};  // one more than requests
  std::vector<Origin> request;
  ObjectTable objects;

  [[nodiscard]] std::size_t requests() const { return request.size(); }
};

}  // namespace kvsim
