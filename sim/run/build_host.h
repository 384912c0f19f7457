#pragma once
// Host memory outside the tiers that KV of admitted requests may move to, and what sends it there.
#include <functional>

#include "sim/run/build.h"

namespace kvsim {

using HostError = std::function<void(const char* path, const char* message, const char* hint)>;

// Requires the engine's memory rules and sizes; mistakes go to `error`.
void size_host(BuiltRun&, const HostError& error);

}  // namespace kvsim
