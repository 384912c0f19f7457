#pragma once
// What a tenant may use, in front of the router: the contract. One object stands for one tenant,
// and is asked about its requests in their order; whether who is over it is refused or held back,
// and what the others do meanwhile, belongs to the engine.
#include <cstdint>

#include "sim/base/registry.h"
#include "sim/base/time.h"

namespace kvsim {

class Quota {
 public:
  using Contract = Quota;
  static constexpr const char* kKind = "quota";
  struct Context {
    std::int64_t kv_tokens = 0;  // KV memory of all instances
  };
  // Of the tenant: let in and not over. A request's tokens are its prompt and output.
  struct Use {
    std::int64_t requests = 0, tokens = 0;
  };
  virtual ~Quota() = default;
  // Why a request of so many tokens can never be let in, a static text; null: it can.
  [[nodiscard]] virtual const char* never(std::int64_t tokens) const = 0;
  // Why it may not be let in now, likewise. Time does not fall from call to call.
  [[nodiscard]] virtual const char* over(std::int64_t tokens, const Use&, Time now) = 0;
  virtual void let_in(std::int64_t tokens, Time now) = 0;
  // When over() may say otherwise although nobody leaves; kNever.
  [[nodiscard]] virtual Time ready(std::int64_t tokens, Time now) = 0;
};

}  // namespace kvsim
