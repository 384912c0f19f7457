// To binary16, nearest even; packHalf2x16 may round otherwise.
uint to_f16(float value) {
  const uint bits = floatBitsToUint(value), sign = bits >> 16 & 0x8000u, size = bits & 0x7fffffffu;
  if (size > 0x7f800000u) return sign | 0x7e00u;
  if (size >= 0x477ff000u) return sign | 0x7c00u;
  if (size < 0x38800000u) {  // a subnormal: units of 2^-24
    const float units = uintBitsToFloat(size) * 16777216.0;
    return sign | uint(roundEven(units));
  }
  return sign | (size - 0x38000000u + 0xfffu + (size >> 13 & 1u)) >> 13;
}
// Number `index` of a row of halves.
float half_of(uint word, uint index) {
  const vec2 pair = unpackHalf2x16(word);
  return (index & 1u) == 0 ? pair.x : pair.y;
}
// a / b to the nearest float; Vulkan's division may be off by 2.5 units.
float divided(float a, float b) {
  const float q = a / b;
  precise float rest = fma(-q, b, a);
  return isinf(q) ? q : q + rest / b;
}
