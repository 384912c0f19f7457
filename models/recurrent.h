#pragma once
// What a recurrent layer keeps per sequence, what it weighs and what it computes, from its widths.
// D hidden, I inner, N state, H heads, Hk key heads, k and v widths of a key and a value, c taps of
// the convolution, R rank (rank, or D / 16 rounded up), G groups.
//
//   mixer         state                  convolution     source
//   mamba         I N                    I c             arXiv:2312.00752
//   mamba-2       I N                    (I + 2 G N) c   arXiv:2405.21060
//   rwkv-4        5 D                    -               arXiv:2305.13048
//   rwkv-6        D k + 2 D              -               arXiv:2404.05892 (k: width of a head)
//   retention     H k v                  -               arXiv:2307.08621
//   gated-linear  H k v                  -               arXiv:2312.06635
//   delta         H k v                  (2 Hk k + H v) c  arXiv:2406.06484
//   gated-delta   H k v                  (2 Hk k + H v) c  arXiv:2412.06464
//   rg-lru        I                      I c             arXiv:2402.19427
//
// A convolution of c taps is counted with c inputs; engines that keep c - 1 save I numbers.
#include <cstdint>

#include "models/model.h"
#include "sim/base/quantity.h"

namespace kvsim {

// Numbers per layer and sequence. Zero without recurrent layers.
struct StateElements {
  std::int64_t state = 0, conv = 0;
};
StateElements state_elements(const ModelSpec&);
// Weights of one recurrent layer's mixer, feed-forward part not included.
std::int64_t mixer_parameters(const ModelSpec&);
// Flops per token and number of state: an update decays, adds an outer product and reads it out
// (2 + 2 + 2); the delta rule reads the state once more before it corrects it.
double update_flops(const ModelSpec&);

// One layer's state of one sequence on one of `tensor` ranks.
Bytes layer_state_bytes(const ModelSpec&, int tensor = 1);
// The same of the compressive memory of an attention layer, in 16 bits.
Bytes layer_memory_bytes(const ModelSpec&, int tensor = 1);
// All that a sequence keeps whatever its length: states and memories of all layers.
Bytes sequence_state_bytes(const ModelSpec&, int tensor = 1);

}  // namespace kvsim
