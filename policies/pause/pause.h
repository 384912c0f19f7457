#pragma once
// What becomes of a request's KV while a tool runs that it called: the contract. Asked once a call,
// when the token that makes it is out; the engine acts. Whatever the answer, full blocks stay in
// the prefix cache until their room is needed, and KV kept on the GPU is taken back when those who
// run lack blocks, or nobody could run.
#include <cstdint>
#include <optional>

#include "sim/base/registry.h"
#include "sim/base/time.h"

namespace kvsim {

enum class PauseFate : std::uint8_t { keep, discard, swap };

struct PauseQuestion {
  std::uint64_t request = 0, call = 0;  // number of the request; of its calls, from 0
  std::int64_t context = 0;             // its tokens with KV
  std::int64_t others = 0;              // the same of all others in the batch
  Duration pause{};                     // that the tool will take: for oracles and noisy guesses
  Duration recompute{};                 // of its context, by itself, nothing found in a cache
  // Of its context to host memory or back, on idle links; none: there is no room.
  std::optional<Duration> copy;
};

class PausePolicy {
 public:
  using Contract = PausePolicy;
  static constexpr const char* kKind = "pause";
  struct Context {
    std::uint64_t seed = 0;
  };
  virtual ~PausePolicy() = default;
  // It may answer swap: host memory is needed.
  [[nodiscard]] virtual bool swaps() const { return false; }
  // A swap without room becomes a discard.
  virtual PauseFate decide(const PauseQuestion&) = 0;
};

}  // namespace kvsim
