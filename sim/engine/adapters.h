#pragma once
// LoRA adapters of one rank: which of them lie in GPU slots, which are in use, and what they add to
// an iteration (S-LoRA, arXiv:2311.03285; Punica, arXiv:2310.18547; vLLM's max_loras).
//
// A request names an adapter or the base model; which, its trace says (AdapterRules::names), or it
// is drawn per request (per session, where it has one), so that policies under comparison see the
// same. Adapters that run are pinned in their
// slots; a newcomer whose adapter has no slot takes the least recently used one that is free, and
// the iteration that it joins begins with the copy, as vLLM does it.
#include <cstdint>
#include <string>
#include <vector>

#include "sim/base/random.h"
#include "sim/base/time.h"
#include "traces/trace_source.h"

namespace kvsim {

struct AdapterRules {
  std::int64_t adapters = 1;  // distinct ones
  double zipf = 0;            // popularity of the i-th is 1 / i^zipf
  double share = 1;           // of requests that ask for one
  std::int64_t slots = 8;     // on the GPU; also most distinct ones in a batch
  std::int64_t load_ns = 0;   // copy of one into a slot
  // GPU time of an iteration in which some take part: fixed, for every distinct one, and for every
  // token, the larger of the last two counts.
  std::int64_t fixed_ns = 0, adapter_ns = 0;
  double token_ns = 0;
  std::uint64_t seed = 0;
  std::vector<std::string> names;  // as requests say them; none: adapters are drawn
};

// Who asks for which.
class Adapters {
 public:
  explicit Adapters(const AdapterRules&);
  [[nodiscard]] const AdapterRules& rules() const { return rules_; }
  // The adapter of a request: 0 = the base model, else from 1.
  // An InputError when it names one that is not there.
  [[nodiscard]] std::uint32_t of(const Request&) const;
  // The one that is drawn.
  [[nodiscard]] std::uint32_t of(std::uint64_t index, std::uint64_t session) const;
  // Nobody else's KV serves a request of this adapter: its content gets keys of its own.
  static void set_apart(std::vector<Segment>&, std::uint32_t adapter);

 private:
  AdapterRules rules_;
  Rng rng_;
  std::vector<double> cumulative_;
};

class AdapterSlots {
 public:
  explicit AdapterSlots(const AdapterRules&);
  // Whether a request with this adapter may join the batch.
  [[nodiscard]] bool admits(std::uint32_t adapter) const {
    return adapter == 0 || users_[adapter] > 0 || in_use_ < rules_.slots;
  }
  void join(std::uint32_t adapter);
  void leave(std::uint32_t adapter);
  // Time of the copies since the last call.
  [[nodiscard]] std::int64_t take_load_ns();
  // GPU time that an iteration with so many tokens of sequences with adapters takes longer.
  [[nodiscard]] std::int64_t step_ns(std::int64_t tokens) const;
  [[nodiscard]] std::int64_t loads() const { return loads_; }
  // The GPU is lost with all that was on it.
  void clear();

 private:
  const AdapterRules& rules_;
  std::vector<std::int64_t> users_;  // requests in the batch, by adapter
  std::vector<std::uint64_t> used_;  // when it was last joined or left; 0 = not in a slot
  std::vector<std::uint32_t> resident_;
  std::int64_t in_use_ = 0, loads_ = 0, load_ns_ = 0;
  std::uint64_t tick_ = 0;
};

}  // namespace kvsim
