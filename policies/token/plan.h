#pragma once
// Which pipeline parts a sequence needs, made from the spec's names; and how many tokens each head
// holds, by arithmetic. Shared by footprint and cache.
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "policies/token/budget.h"
#include "policies/token/index.h"
#include "policies/token/score.h"
#include "policies/token/spec.h"

namespace kvsim::token {

// The plug-ins that a spec names; null where it has no such section.
std::unique_ptr<TokenScore> make_score(const SelectSpec&, const TokenScore::Context&);
std::unique_ptr<TokenIndex> make_index(const RetrieveSpec&, const TokenIndex::Context&);
std::unique_ptr<TokenBudget> make_budget(const TokenPolicies&);

// A limit that no context reaches.
inline constexpr std::int64_t kNoLimit = std::int64_t{1} << 40;

// The question for a prompt, without observations, and plans as an allocator gets them.
BudgetQuestion budget_question(const TokenPolicies&, const KvShape&, std::int64_t prompt);
std::vector<HeadPlan> first_plans(const BudgetQuestion&);

// Newest tokens that do not leave, for a budget of so many.
std::int64_t recent_tokens(const SelectSpec&, std::int64_t budget);

// Tokens of a head (not in a dense layer) after so many generated ones, when `protected_plain` of
// its tokens are protected besides sinks and recent ones.
std::int64_t held_tokens(const SelectSpec&, const HeadPlan&, std::int64_t prompt,
                         std::int64_t generated, std::int64_t protected_plain);
// Tokens that leave together when a buffer of so many is full; one stays at least. A buffer of one
// holds the newest.
std::int64_t evicted_at_once(const SelectSpec&, std::int64_t budget);
// Slots of so many tokens when runs share one.
std::int64_t merged_slots(const MergeSpec&, std::int64_t tokens);

// Merging across layers: which layer a layer is paired with from above (-1: none), and the share of
// a paired layer's bytes that is left (lengths not counted).
std::vector<std::int64_t> layer_pairs(const MergeSpec&, std::int64_t layers);
double paired_share(const MergeSpec&);
// Layers that own a cache when others read theirs.
std::int64_t owned_layers(const MergeSpec&, std::int64_t layers);

}  // namespace kvsim::token
