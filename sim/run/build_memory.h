#pragma once
// The memory manager of a run, told what the model's KV looks like on the fullest rank.
#include <memory>

#include "policies/memory/memory.h"
#include "sim/run/build.h"

namespace kvsim {

// Requires model, precision, split and the engine's sizes but the cache's. Throws InputError when
// the scenario does not suit the manager.
std::unique_ptr<MemoryManager> build_memory(const BuiltRun&);

}  // namespace kvsim
