// 64-bit numbers as (low, high) words: works without the shaderInt64 feature. kernels/hash.h says what
// mix() and s() are.
uvec2 add64(uvec2 a, uvec2 b) {
  uint carry;
  const uint low = uaddCarry(a.x, b.x, carry);
  return uvec2(low, a.y + b.y + carry);
}
uvec2 product32(uint a, uint b) {
  uvec2 p;
  umulExtended(a, b, p.y, p.x);
  return p;
}
uvec2 product64(uvec2 a, uvec2 b) {  // low half
  uvec2 p = product32(a.x, b.x);
  p.y += a.x * b.y + a.y * b.x;
  return p;
}
uvec2 mix(uvec2 a, uvec2 b) {
  const uvec2 low = product32(a.x, b.x), high = product32(a.y, b.y);
  const uvec2 cross1 = product32(a.y, b.x), cross2 = product32(a.x, b.y);
  const uvec2 middle =
      add64(add64(uvec2(low.y, 0), uvec2(cross1.x, 0)), uvec2(cross2.x, 0));
  const uvec2 top = add64(add64(high, uvec2(cross1.y, 0)), add64(uvec2(cross2.y, 0), uvec2(middle.y, 0)));
  return uvec2(low.x, middle.x) ^ top;
}
uvec2 shift_right(uvec2 x, int n) { return uvec2(x.x >> n | x.y << (32 - n), x.y >> n); }
uvec2 s(uvec2 x) {  // SplitMix64's finaliser
  x = add64(x, uvec2(0x7f4a7c15u, 0x9e3779b9u));
  x = product64(x ^ shift_right(x, 30), uvec2(0x1ce4e5b9u, 0xbf58476du));
  x = product64(x ^ shift_right(x, 27), uvec2(0x133111ebu, 0x94d049bbu));
  return x ^ shift_right(x, 31);
}
