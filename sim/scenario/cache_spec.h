#pragma once
// The `cache` part of a scenario: prefix sharing, and the tiers that KV may lie in.
#include <cstdint>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "sim/base/fields.h"
#include "sim/base/registry.h"
#include "sim/base/tier.h"

namespace kvsim {

enum class PrefixIndex : std::uint8_t { none, hash, radix, chunk_tree };
constexpr auto enum_names(PrefixIndex) {
  return std::array{std::pair{PrefixIndex::none, "none"}, std::pair{PrefixIndex::hash, "hash"},
                    std::pair{PrefixIndex::radix, "radix"},
                    std::pair{PrefixIndex::chunk_tree, "chunk-tree"}};
}

enum class BlockLists : std::uint8_t { head, sequence };
constexpr auto enum_names(BlockLists) {
  return std::array{std::pair{BlockLists::head, "head"},
                    std::pair{BlockLists::sequence, "sequence"}};
}

struct PrefixSpec {
  PrefixIndex index = PrefixIndex::hash;
  std::int64_t chunk_tokens = 64;
  std::vector<Duration> reset_at;
  bool keep_exact = false;
  static constexpr Rows kFields{
      field("index", &PrefixSpec::index, any,
            "prefix cache: none, a chain of block hashes (vLLM), a radix tree (SGLang; its page "
            "is engine.block_tokens), or a tree of chunks of equal size (ChunkAttention)"),
      field("chunk_tokens", &PrefixSpec::chunk_tokens, between<std::int64_t>(1, 1 << 20),
            "of chunk-tree: prefixes are shared in chunks of so many tokens"),
      field("reset_at", &PrefixSpec::reset_at, any,
            "instants at which the cache is reset; a rank that holds blocks then refuses"),
      field("keep_exact", &PrefixSpec::keep_exact, any,
            "prompts that token_policies compress for one request alone stay cached as they were "
            "computed, while there is room; else they serve nobody else")};
};

// `prefetch: on-arrival`, or a mapping.
struct PrefetchSpec {
  PrefetchRule policy = PrefetchRule::on_admission;
  std::int64_t look_ahead = 8;
  std::int64_t min_tokens = 0;
  Ratio share{1.0};
  PrefetchWait wait = PrefetchWait::complete;
  Duration wait_base{std::chrono::seconds(2)}, wait_per_1024{std::chrono::milliseconds(100)};
  Duration wait_most{std::chrono::seconds(30)};
  static constexpr Rows kFields{
      field("policy", &PrefetchSpec::policy, any,
            "on-admission: when the scheduler looks at the request; on-arrival: when it enters the "
            "queue; look-ahead: for the first requests of the queue, at every iteration"),
      field("look_ahead", &PrefetchSpec::look_ahead, between<std::int64_t>(1, 1 << 20),
            "requests of the queue that look-ahead serves"),
      field("min_tokens", &PrefetchSpec::min_tokens, between<std::int64_t>(0, 1 << 30),
            "a shorter prefetch is not begun"),
      field("share", &PrefetchSpec::share, between(Ratio{0}, Ratio{1}),
            "of the first tier that prefetches may fill at once"),
      field("wait", &PrefetchSpec::wait, any,
            "a request whose prefetch is under way: waits (complete), waits for wait_base + "
            "wait_per_1024 (timeout), or goes on with what has come (best-effort)"),
      field("wait_base", &PrefetchSpec::wait_base, any, "of timeout"),
      field("wait_per_1024", &PrefetchSpec::wait_per_1024, any,
            "of timeout, for every 1,024 tokens to fetch"),
      field("wait_most", &PrefetchSpec::wait_most, any, "of timeout, at most")};
};
template <>
struct Codec<PrefetchSpec> {
  static bool read(const Tree&, PrefetchSpec&, Reader&);
  static Tree write(const PrefetchSpec&);
  static TypeInfo info();
};

struct ReplicateSpec {
  std::int64_t after = 0, copies = 0;
  static constexpr Rows kFields{
      field("after", &ReplicateSpec::after, between<std::int64_t>(0, 1 << 20),
            "reads of a chunk by other nodes before the reader keeps a copy; 0 = never"),
      field("copies", &ReplicateSpec::copies, between<std::int64_t>(0, 1 << 20),
            "of a chunk in the pool, at most; 0 = one for each node")};
};

struct TierSpec {
  std::string name;
  std::optional<TierKind> kind;
  std::optional<TierScope> scope;
  Bytes capacity;
  Placement placement = Placement::spread;
  ReplicateSpec replicate;
  std::string dtype;
  Bandwidth convert{0};
  Choice<"eviction", "policy"> eviction{"lru"};
  WriteRule write = WriteRule::through;
  std::int64_t write_after = 1;
  bool contiguous = false;
  std::int64_t pin_tokens = 0;
  Duration ttl{};
  Ratio tenant_quota{1.0}, watermark{1.0};
  Duration lease{}, directory_lag{};
  std::optional<Duration> lookup;
  std::optional<bool> staged;
  PrefetchSpec prefetch;
  static constexpr Rows kFields{
      field("name", &TierSpec::name, any,
            "gpu (the first, which takes only an eviction), cpu, ssd, remote, or a name of its "
            "own"),
      field("kind", &TierSpec::kind, any, "memory it lies in; default: what its name says"),
      field(
          "scope", &TierSpec::scope, any,
          "who shares one store: instance (default of cpu and ssd), node, or cluster (of remote)"),
      field("capacity", &TierSpec::capacity, any,
            "of one store (one for each node where placement is local); data-parallel ranks split "
            "it"),
      field(
          "placement", &TierSpec::placement, any,
          "of a remote tier that is the memory of all nodes: chunks are spread over it evenly, or "
          "lie in the memory of the node that wrote them (local), from where others fetch them"),
      field("replicate", &TierSpec::replicate, any,
            "copies that nodes keep of chunks which they read from others; placement: local"),
      field("dtype", &TierSpec::dtype, any,
            "precision in which this tier stores KV; int4, int3 and int2 come in groups of 64 "
            "numbers "
            "with a scale and a zero of 16 bits; empty = as on the GPU"),
      field("convert", &TierSpec::convert, any,
            "bytes read and written a second while KV is converted to dtype and back, which each "
            "transfer pays for; 0 = the memory bandwidth of the GPU, of a staged tier that of the "
            "host"),
      field(
          "eviction", &TierSpec::eviction, any,
          "which chunk leaves when it is full; on the GPU: which node of the prefix index, and for "
          "hash, lru is vLLM's free queue"),
      field("write", &TierSpec::write, any,
            "through: as soon as KV exists one tier above; back: when it is evicted there; none"),
      field("write_after", &TierSpec::write_after, between<std::int64_t>(1, 1 << 20),
            "uses of a chunk before it is written: 2 = not before it was used again"),
      field("contiguous", &TierSpec::contiguous, any,
            "a chunk is written only behind one that is here"),
      field("pin_tokens", &TierSpec::pin_tokens, between<std::int64_t>(0, 1 << 30),
            "chunks of the first so many tokens of a prompt are never evicted once here"),
      field("ttl", &TierSpec::ttl, any, "a chunk unused for this long is dropped; 0 = never"),
      field("tenant_quota", &TierSpec::tenant_quota, between(Ratio{0}, Ratio{1}),
            "share of the capacity that one tenant's chunks may take"),
      field("watermark", &TierSpec::watermark, between(Ratio{0.01}, Ratio{1}),
            "above this share chunks are evicted before room is needed"),
      field("lease", &TierSpec::lease, any, "a chunk that was read is not evicted for this long"),
      field("directory_lag", &TierSpec::directory_lag, any,
            "who looks for a chunk learns of its coming and going this much later"),
      field("lookup", &TierSpec::lookup, any,
            "an existence check is answered after this, and the request is set aside until then; "
            "default: at once"),
      field("staged", &TierSpec::staged, any,
            "its chunks come to the GPU through the first tier; default: yes when that is cpu "
            "memory and this is not"),
      field("prefetch", &TierSpec::prefetch, any, "when chunks are brought up to the first tier")};
};

struct OffloadSpec {
  std::int64_t chunk_tokens = 0;
  LoadMode load = LoadMode::async;
  Choice<"restore", "policy"> restore{"always"};
  std::int64_t min_load_tokens = 0;
  bool whole_prompts = false, outputs = false;
  bool compare = false;
  static constexpr Rows kFields{
      field("chunk_tokens", &OffloadSpec::chunk_tokens, between<std::int64_t>(0, 1 << 20),
            "tokens of one chunk, a multiple of the block; 0 = one block"),
      field("load", &OffloadSpec::load, any,
            "async: the request waits outside the batch; overlap: in the batch, layer by layer; "
            "blocking: the batch waits"),
      field("restore", &OffloadSpec::restore, any,
            "how much of what is stored below is loaded, and what is computed meanwhile"),
      field("min_load_tokens", &OffloadSpec::min_load_tokens, between<std::int64_t>(0, 1 << 30),
            "a shorter hit below the GPU is computed instead"),
      field("whole_prompts", &OffloadSpec::whole_prompts, any,
            "a prompt's KV is written once all of it is computed, not chunk by chunk"),
      field("outputs", &OffloadSpec::outputs, any,
            "KV of generated tokens is written too, when the request is over"),
      field("compare", &OffloadSpec::compare, any,
            "the same requests are also run without tiers below the GPU (and without faults); "
            "metrics of scope no-offload")};
};

enum class LayerAllocation : std::uint8_t { automatic, uniform, grouped };
constexpr auto enum_names(LayerAllocation) {
  return std::array{std::pair{LayerAllocation::automatic, "auto"},
                    std::pair{LayerAllocation::uniform, "uniform"},
                    std::pair{LayerAllocation::grouped, "grouped"}};
}

// Copies of states and windows, from which a known prefix can be taken up.
struct SnapshotSpec {
  Ratio room{0};
  std::int64_t align = 0, every = 0;
  bool outputs = true;
  Choice<"eviction", "policy"> eviction{"lru"};
  static constexpr Rows kFields{
      field("room", &SnapshotSpec::room, between(Ratio{0}, Ratio{0.9}),
            "share of the KV memory set aside for them; 0 = none are kept, no prefix is hit"),
      field("align", &SnapshotSpec::align, between<std::int64_t>(0, 1 << 20),
            "they lie at multiples of so many tokens, a multiple of the block; 0 = one block for "
            "windows, with states as many tokens as have as much KV in a layer as a state"),
      field("every", &SnapshotSpec::every, between<std::int64_t>(0, 1 << 30),
            "one at each multiple of so many tokens of a prompt; 0 = only before its end and where "
            "a known prefix ends"),
      field("outputs", &SnapshotSpec::outputs, any,
            "one near the end of an output; with states, a sequence holds a second copy for it"),
      field("eviction", &SnapshotSpec::eviction, any, "which of them leaves first")};
};

struct HybridSpec {
  LayerAllocation allocation = LayerAllocation::automatic;
  SnapshotSpec snapshots;
  static constexpr Rows kFields{
      field("allocation", &HybridSpec::allocation, any,
            "KV memory of layers that differ: uniform = each as if it kept every token; grouped = "
            "layers with a window keep no more than that, states take room once a sequence (vLLM's "
            "hybrid KV cache manager); auto = grouped for models with states"),
      field("snapshots", &HybridSpec::snapshots, any,
            "of grouped: copies from which a known prefix can be taken up")};
};

struct CacheSpec {
  std::string preset;
  std::string dtype = "bf16";
  PrefixSpec prefix;
  Choice<"memory", "manager"> memory{"paged"};
  bool hidden_states = false;
  Choice<"placement", "policy"> placement{"gpu"};
  HybridSpec hybrid;
  Tree token_policies;
  BlockLists block_lists = BlockLists::head;
  std::vector<TierSpec> tiers;
  OffloadSpec offload;
  static constexpr Rows kFields{
      field("preset", &CacheSpec::preset, any,
            "store whose rules are followed; gives defaults for offload, and for tiers by kind"),
      field("dtype", &CacheSpec::dtype, any,
            "precision of the KV cache; auto = that of the activations"),
      field("prefix", &CacheSpec::prefix, any, "sharing of common prefixes"),
      field(
          "memory", &CacheSpec::memory, any,
          "how GPU memory is handed to sequences: paged, reserved, virtual, pooled or layer-wise"),
      field("hidden_states", &CacheSpec::hidden_states, any,
            "requests may keep the inputs of the layers in place of keys and values, half the "
            "bytes where every head has its own, and project them again in every iteration; a "
            "scheduler that knows how says who (apt-serve)"),
      field("placement", &CacheSpec::placement, any,
            "where the KV of running requests lies: gpu, or in phases as it grows (alisa)"),
      field("hybrid", &CacheSpec::hybrid, any,
            "models whose layers keep different things: windows, states, every token"),
      field("token_policies", &CacheSpec::token_policies, any,
            "what is kept of each token and in what form: a list of methods (kvsim list "
            "token-policies) and of stages select, retrieve, budget, merge, low-rank, quantize"),
      field("block_lists", &CacheSpec::block_lists, any,
            "whether the engine's kernels can have a list of blocks for each head and layer, as "
            "token_policies with budgets by head need, or one for a sequence"),
      field("tiers", &CacheSpec::tiers, any, "where KV may lie, the GPU first"),
      field("offload", &CacheSpec::offload, any,
            "how KV moves between the GPU and the tiers below")};
};

}  // namespace kvsim
