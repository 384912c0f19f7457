// Where a number lies in a head page, and which numbers a word of 4 bytes holds (kernels/kv_cache.h).
// `bits` of an element, `dim` of a row. Words of keys count from the tile, words of values from the values.

// (token of the tile, dim) of number n of a word.
ivec2 key_of_word(int w, int n, int bits, bool dim_major) {
  const int per = 32 / bits;
  if (!dim_major) {
    const int chunk = w / 4;
    return ivec2(chunk % 16, chunk / 16 * (128 / bits) + w % 4 * per + n);
  }
  if (bits >= 8) return ivec2((w * per + n) % 16, (w * per + n) / 16);
  const int together = 8 / bits, b = w * 4 + n / together;
  return ivec2(b % 16, b / 16 * together + n % together);
}
// (word, shift) of a key's number.
uvec2 word_of_key(int token, int d, int bits, bool dim_major) {
  int bit;
  if (!dim_major) {
    const int per = 128 / bits;
    bit = (d / per * 16 + token) * 128 + d % per * bits;
  } else {
    const int together = 8 / bits;
    bit = bits >= 8 ? (d * 16 + token) * bits : (d / together * 16 + token) * 8 + d % together * bits;
  }
  return uvec2(bit >> 5, bit & 31);
}
// (slot, dim) of number n of a word.
ivec2 value_of_word(int w, int n, int bits, int dim) {
  const int per = 32 / bits;
  if (bits >= 8) return ivec2((w * per + n) / dim, (w * per + n) % dim);
  const int together = 8 / bits, row = dim / together, b = w * 4 + n / together;
  return ivec2(b / row, b % row + n % together * row);
}
uvec2 word_of_value(int slot, int d, int bits, int dim) {
  int bit;
  if (bits >= 8) {
    bit = (slot * dim + d) * bits;
  } else {
    const int row = dim * bits / 8;
    bit = (slot * row + d % row) * 8 + d / row * bits;
  }
  return uvec2(bit >> 5, bit & 31);
}
float number_of(uint w, uint shift, int bits, bool bfloat) {
  const uint x = w >> shift;
  if (bits == 32) return uintBitsToFloat(x);
  if (bits == 16) return bfloat ? uintBitsToFloat(x << 16) : unpackHalf2x16(x).x;
  return float(x & ((1u << bits) - 1u));
}
uint to_bf16(float value) {
  const uint bits = floatBitsToUint(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return bits >> 16 | 0x40u;
  return (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
}
