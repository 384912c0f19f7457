// Reading numbers of a paged KV cache. Include behind the push constants; kv_format.glsl before them.
// A base is the place of a head page, in 16 bytes.
uint head_page(int page, int head) { return uint(page) * page_stride + uint(head) * head_stride; }
float half_at(uint base, uint first_word, int index) {
  const vec2 pair = unpackHalf2x16(pages1[base * 4 + first_word + uint(index >> 1)]);
  return (index & 1) == 0 ? pair.x : pair.y;
}
vec4 halves4(uint base, uint first_word, int index) {  // index: a multiple of 4
  const uint at = base * 4 + first_word + uint(index >> 1);
  return vec4(unpackHalf2x16(pages1[at]), unpackHalf2x16(pages1[at + 1]));
}
// Of token t's group: f16 scale[K_DIM], zero[K_DIM].
int key_scale_index(int t) { return t % PAGE_TOKENS / GROUP_TOKENS * 2 * K_DIM; }

// Where a tile of 16 tokens begins, in 16 bytes from the head page.
uint key_tile(int t) { return uint(t % PAGE_TOKENS / 16 * (K_DIM / 8) * BITS); }
float dim_major_number(uint tile, int token, int d) {  // tile: absolute, in 16 bytes
  const int bit = BITS >= 8 ? (d * 16 + token) * BITS
                            : (d / (8 / BITS) * 16 + token) * 8 + d % (8 / BITS) * BITS;
  const uint w = pages1[tile * 4 + uint(bit >> 5)] >> (bit & 31);
  if (BITS == 32) return uintBitsToFloat(w);
  if (BITS == 16) return BFLOAT != 0 ? uintBitsToFloat(w << 16) : unpackHalf2x16(w).x;
  return float(w & CODE_MASK);
}
vec4 dim_major4(uint tile, int token, int d) {
  return vec4(dim_major_number(tile, token, d), dim_major_number(tile, token, d + 1),
              dim_major_number(tile, token, d + 2), dim_major_number(tile, token, d + 3));
}

// Keys d .. d + 3 (d a multiple of 4) of a slot, scales applied.
vec4 key4(uint base, int slot, int d) {
  const uint tile = base + key_tile(slot);
  vec4 x;
  if (DIM_MAJOR != 0)
    x = dim_major4(tile, slot % 16, d);
  else
    x = of_chunk(pages4[tile + uint(d / PER_CHUNK * 16 + slot % 16)], d % PER_CHUNK / 4);
  if (!QUANTISED) return x;
  const int at = key_scale_index(slot) + d;
  return x * halves4(base, key_scales, at) + halves4(base, key_scales, at + K_DIM);
}
