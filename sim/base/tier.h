#pragma once
// Words about memory tiers below the GPU that scenario, engine and results share.
#include <array>
#include <cstdint>
#include <utility>

namespace kvsim {

inline constexpr std::size_t kMaxTiers = 6;  // below the GPU

enum class TierKind : std::uint8_t { cpu, ssd, remote };
constexpr auto enum_names(TierKind) {
  return std::array{std::pair{TierKind::cpu, "cpu"}, std::pair{TierKind::ssd, "ssd"},
                    std::pair{TierKind::remote, "remote"}};
}

// Who shares one store of a tier.
enum class TierScope : std::uint8_t { instance, node, cluster };
constexpr auto enum_names(TierScope) {
  return std::array{std::pair{TierScope::instance, "instance"}, std::pair{TierScope::node, "node"},
                    std::pair{TierScope::cluster, "cluster"}};
}

// Where the chunks of a pool of all nodes' memory lie.
enum class Placement : std::uint8_t {
  spread,  // striped evenly over the memory of all nodes
  local    // in the memory of the node that wrote them
};
constexpr auto enum_names(Placement) {
  return std::array{std::pair{Placement::spread, "spread"}, std::pair{Placement::local, "local"}};
}

// How KV from below reaches the GPU.
enum class LoadMode : std::uint8_t {
  async,    // the request waits outside the batch until its load is reported (vLLM connectors)
  overlap,  // in the batch: layer i waits for its own KV only (SGLang HiCache, CachedAttention)
  blocking  // in the batch: the iteration's computation starts when everything is there (LMCache)
};
constexpr auto enum_names(LoadMode) {
  return std::array{std::pair{LoadMode::async, "async"}, std::pair{LoadMode::overlap, "overlap"},
                    std::pair{LoadMode::blocking, "blocking"}};
}

// When KV is written into a tier.
enum class WriteRule : std::uint8_t {
  through,  // as soon as it exists one tier above
  back,     // when it is evicted one tier above
  none      // never (a tier that somebody else fills)
};
constexpr auto enum_names(WriteRule) {
  return std::array{std::pair{WriteRule::through, "through"}, std::pair{WriteRule::back, "back"},
                    std::pair{WriteRule::none, "none"}};
}

// When KV below the first tier is brought up into it.
enum class PrefetchRule : std::uint8_t {
  on_admission,  // when the scheduler looks at the request (vLLM's tiers)
  on_arrival,    // when the request enters the queue (SGLang HiCache)
  look_ahead  // for the first requests of the waiting queue, at every iteration (CachedAttention)
};
constexpr auto enum_names(PrefetchRule) {
  return std::array{std::pair{PrefetchRule::on_admission, "on-admission"},
                    std::pair{PrefetchRule::on_arrival, "on-arrival"},
                    std::pair{PrefetchRule::look_ahead, "look-ahead"}};
}

// What the scheduler does with a request whose prefetch is still under way (SGLang HiCache).
enum class PrefetchWait : std::uint8_t { complete, timeout, best_effort };
constexpr auto enum_names(PrefetchWait) {
  return std::array{std::pair{PrefetchWait::complete, "complete"},
                    std::pair{PrefetchWait::timeout, "timeout"},
                    std::pair{PrefetchWait::best_effort, "best-effort"}};
}

}  // namespace kvsim
