#pragma once
// Tiles of any format as f32, for what the fast paths do not read in place: keys in chunks, values
// that are part of the keys, codes when many queries share the work.
#include <cstddef>

#include "kernels/kv_cache.h"

namespace kvsim::kernels::cpu {

// The tile of 16 tokens that begins at `slot` (a multiple of 16) of a head page.
// Keys as [k_dim][16 tokens].
void stage_keys(const KvFormat&, const std::byte* head_page, int slot, float* out);
// Values as [16 tokens][v_dim]; of MLA, from the staged keys.
void stage_values(const KvFormat&, const std::byte* head_page, int slot, float* out);
void stage_values_in_keys(const float* keys, int v_dim, float* out);

}  // namespace kvsim::kernels::cpu
