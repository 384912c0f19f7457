#pragma once
// A request that calls a tool while it is served: it produces some tokens, waits outside the
// engine, and goes on with what the tool returned behind them.
#include <cstdint>
#include <span>

#include "sim/base/time.h"

namespace kvsim {

struct ToolCall {
  std::int64_t after = 1;    // output tokens since the call before, or since the prompt; >= 1
  Duration pause{};          // from the token that makes it until the tool returns
  std::int64_t returns = 0;  // tokens that it adds to the context
};

inline std::int64_t returned_tokens(std::span<const ToolCall> calls) {
  std::int64_t all = 0;
  for (const ToolCall& c : calls) all += c.returns;
  return all;
}

}  // namespace kvsim
