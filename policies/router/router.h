#pragma once
// Which instance of a pool serves a request: the contract of every router.
#include <cstdint>
#include <span>

#include "sim/base/random.h"
#include "sim/base/registry.h"

namespace kvsim {

// What a router may know of an instance, now.
struct InstanceView {
  std::int64_t in_flight = 0;         // requests sent there that are not over
  std::int64_t in_flight_tokens = 0;  // their prompt and output tokens
  std::int64_t waiting = 0;           // in its queues, not in the batch
};

struct RoutedRequest {
  std::uint64_t index = 0, session = 0;
  std::int64_t prompt_tokens = 0;
};

class Router {
 public:
  using Contract = Router;
  static constexpr const char* kKind = "router";
  struct Context {
    std::size_t instances = 1;
    Rng random{0, "router"};
  };
  virtual ~Router() = default;
  // An index below instances.size(); instances is never empty.
  virtual std::size_t pick(const RoutedRequest&, std::span<const InstanceView> instances) = 0;
};

}  // namespace kvsim
