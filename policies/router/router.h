#pragma once
// Which instance of a pool serves a request: the contract of every router.
#include <array>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "sim/base/random.h"
#include "sim/base/registry.h"
#include "sim/base/time.h"
#include "sim/state/kv_pool.h"
#include "sim/state/step_estimator.h"

namespace kvsim {

inline constexpr std::size_t kNoInstance = std::numeric_limits<std::size_t>::max();

// What a router may know of an instance, now. Requests count from the moment they are sent there
// until they are over.
struct InstanceView {
  std::int64_t in_flight = 0;         // requests
  std::int64_t in_flight_tokens = 0;  // their prompt and output tokens
  std::int64_t waiting = 0;           // in its queues, not in the batch
  std::int64_t prompt_tokens = 0;     // of these, the prompts: KV that they hold or soon will
  // Prompt tokens of requests without a first token, less what was expected to be cached; and the
  // time that computing them takes (Traits::estimates).
  std::int64_t pending_tokens = 0;
  Duration pending_work{};
  std::int64_t kv_tokens = 0;  // its KV memory
  // Of KV between two instances, a flow alone (Traits::copies); 0 = none leads there.
  double copy_bytes_per_s = 0;
  std::int64_t kv_token_bytes = 0;
  bool up = true;  // may be chosen
};

struct RoutedRequest {
  std::uint64_t index = 0, session = 0;
  std::uint32_t tenant = 0;
  std::int64_t prompt_tokens = 0;
  Time now{};
  // By instance, tokens of the prompt that the index believes to be cached there. Empty without an
  // index.
  std::span<const std::int64_t> hit_tokens{};
  // Of the prompt, in blocks of `block_tokens` (Traits::content).
  std::span<const ContentChunk> content{};
  std::int64_t block_tokens = 16;
  std::span<const StepEstimator* const> steps{};  // by instance

  [[nodiscard]] std::int64_t hits(std::size_t instance) const {
    return hit_tokens.empty() ? 0 : hit_tokens[instance];
  }
  // Time that an instance takes to compute the prompt behind its first `from` tokens.
  [[nodiscard]] Duration prefill(std::size_t instance, std::int64_t from) const {
    return steps[instance]->prefill(from, prompt_tokens);
  }
};

// How a live request reaches another instance: its KV is copied while it still decodes, or its
// tokens are computed once more there; or whichever takes less time, the copy alone on its links
// against the computing behind what waits there (Traits::estimates).
enum class MoveBy : std::uint8_t { copy, recompute, cheaper };
constexpr auto enum_names(MoveBy) {
  return std::array{std::pair{MoveBy::copy, "copy"}, std::pair{MoveBy::recompute, "recompute"},
                    std::pair{MoveBy::cheaper, "cheaper"}};
}

// Asks for a live request to be moved (Traits::every); the engine picks which.
struct Migration {
  std::size_t from = 0, to = 0;
  MoveBy by = MoveBy::copy;
};

class Router {
 public:
  using Contract = Router;
  static constexpr const char* kKind = "router";
  struct Context {
    std::size_t instances = 1;
    Rng random{0, "router"};
    std::optional<Duration> ttft{};  // objective
  };
  // What the engine must keep or do for it; constant.
  struct Traits {
    enum class Index : std::uint8_t { none, exact, events };
    Index index = Index::none;  // of the instances' prefix caches
    Duration publish{}, lag{};  // events: sent in batches this often, arriving this much later
    bool content = false;
    bool estimates = false;
    bool copies = false;  // copy_from() may name an instance
    Duration every{};     // balance() is asked this often; 0 = never
  };
  virtual ~Router() = default;
  [[nodiscard]] virtual Traits traits() const { return {}; }
  // An index below instances.size() of an instance that is up; one is. `scores` is empty, or takes
  // what each instance weighed (the least is best) and keeps what it had for those not looked at.
  virtual std::size_t pick(const RoutedRequest&, std::span<const InstanceView> instances,
                           std::span<double> scores) = 0;
  // The instance whose cached prefix of the last pick()'s request is to be copied to its choice.
  [[nodiscard]] virtual std::size_t copy_from() const { return kNoInstance; }
  virtual void balance(std::span<const InstanceView>, std::vector<Migration>&) {}
};

// The instance that is up and has the least cost(index); of equals the first.
template <class Cost>
std::size_t least(std::span<const InstanceView> instances, std::span<double> scores, Cost cost) {
  std::size_t best = kNoInstance;
  using Value = decltype(cost(std::size_t{0}));
  Value least_cost{};
  for (std::size_t i = 0; i < instances.size(); ++i) {
    if (!instances[i].up) continue;
    const Value c = cost(i);
    if (!scores.empty()) scores[i] = static_cast<double>(c);
    if (best == kNoInstance || c < least_cost) best = i, least_cost = c;
  }
  return best;
}

inline std::size_t least_requests(std::span<const InstanceView> instances,
                                  std::span<double> scores) {
  return least(instances, scores, [&](std::size_t i) { return instances[i].in_flight; });
}

}  // namespace kvsim
