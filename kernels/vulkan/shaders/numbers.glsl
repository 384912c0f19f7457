// Numbers as they lie in a page (kernels/kv_cache.h), in words of four. Needs BITS and BFLOAT.
const int PER_CHUNK = 128 / BITS;  // numbers in 16 bytes
const bool QUANTISED = BITS < 16;
const uint CODE_MASK = QUANTISED ? (1u << BITS) - 1u : 0u;

vec4 bfloats(uvec2 w) {
  return uintBitsToFloat(uvec4(w.x << 16, w.x & 0xffff0000u, w.y << 16, w.y & 0xffff0000u));
}
vec4 codes(uint w, uvec4 shifts) { return vec4((uvec4(w) >> shifts) & CODE_MASK); }
const uvec4 IN_ROW = uvec4(0, 1, 2, 3);

// Numbers 4 v .. 4 v + 3 of a chunk of 16 bytes.
vec4 of_chunk(uvec4 c, int v) {
  if (BITS == 32) return uintBitsToFloat(c);
  if (BITS == 16) {
    const uvec2 w = v == 0 ? c.xy : c.zw;
    return BFLOAT != 0 ? bfloats(w) : vec4(unpackHalf2x16(w.x), unpackHalf2x16(w.y));
  }
  if (BITS == 8) return codes(c[v], 8 * IN_ROW);
  if (BITS == 4) return codes(c[v >> 1], 4 * IN_ROW + 16 * (v & 1));
  return codes(c[v >> 2], 2 * IN_ROW + 8 * (v & 3));
}
