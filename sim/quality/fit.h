#pragma once
// Policies at equal bytes: the one knob of each that decides how much it keeps is turned until the
// sequence takes a share of the whole cache's bytes (of the bytes that a step reads, where nothing
// leaves). By arithmetic (policies/token/footprint.h); what tensors then take is measured.
#include <cstdint>
#include <optional>

#include "policies/token/shape.h"
#include "policies/token/spec.h"

namespace kvsim::quality {

// Stored bytes over those of the whole cache, or of retrieval: bytes that a step reads, summaries
// included. Requires policies that pass check_composition().
double byte_share(const token::TokenPolicies&, const token::KvShape&, std::int64_t prompt,
                  std::int64_t steps);
// Bytes that the last step's attention reads, summaries included.
double read_bytes(const token::TokenPolicies&, const token::KvShape&, std::int64_t prompt,
                  std::int64_t steps);

// Besides the numbers themselves: summaries of an index, scores.
double index_and_state_bytes(const token::TokenPolicies&, const token::KvShape&,
                             std::int64_t prompt, std::int64_t steps);

enum class Knob : std::uint8_t { none, budget, ratio, rank, bits };
// Of the families that a pipeline has, the first: budget of tokens, tokens per slot, rank, bits.
Knob knob_of(const token::TokenPolicies&);
// The most that stays within `share` after a prompt and so many steps; nothing when the least does
// not, or there is no knob.
std::optional<token::TokenPolicies> fit_to_share(const token::TokenPolicies&, const token::KvShape&,
                                                 std::int64_t prompt, std::int64_t steps,
                                                 double share);

}  // namespace kvsim::quality
