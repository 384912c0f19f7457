#version 460
// The k largest of a row, exactly: the k-th key is found 8 bits at a time by counting, then indices are
// written in order. An invocation owns a run of neighbouring columns, so lower indices come first.
layout(local_size_x_id = 0) in;
layout(constant_id = 0) const int WIDTH = 128;
layout(std430, set = 0, binding = 0) readonly buffer In { uint x[]; };
layout(std430, set = 0, binding = 1) readonly buffer Lengths { int lengths[]; };
layout(std430, set = 0, binding = 2) writeonly buffer Out { int result[]; };
layout(push_constant) uniform Push { uint first_row; int columns, k; };
shared uint counts[256];
shared uint prefix, wanted;  // the known leading bits of the k-th key; how many are still to be taken
shared uint above[WIDTH], equal[WIDTH];

// Order of unsigned numbers = order of floats; -0 equals 0; NaN is below everything.
uint key_of(uint bits) {
  if ((bits & 0x7fffffffu) > 0x7f800000u) return 0;
  if (bits == 0x80000000u) bits = 0;
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

void main() {
  const uint row = gl_WorkGroupID.x + first_row;
  const int n = min(lengths[row], columns), take = min(k, n), lane = int(gl_LocalInvocationIndex);
  for (int i = take + lane; i < k; i += WIDTH) result[row * uint(k) + uint(i)] = -1;
  if (take == 0) return;
  if (lane == 0) prefix = 0, wanted = uint(take);
  for (int shift = 24; shift >= 0; shift -= 8) {
    for (int i = lane; i < 256; i += WIDTH) counts[i] = 0;
    barrier();
    for (int i = lane; i < n; i += WIDTH) {
      const uint key = key_of(x[row * uint(columns) + uint(i)]);
      if (shift == 24 || key >> (shift + 8) == prefix >> (shift + 8))
        atomicAdd(counts[key >> shift & 255u], 1u);
    }
    barrier();
    if (lane == 0) {
      uint digit = 255, left = wanted;
      for (; counts[digit] < left; --digit) left -= counts[digit];
      wanted = left;
      prefix |= digit << shift;
    }
    barrier();
  }
  const uint limit = prefix;
  const int run = (n + WIDTH - 1) / WIDTH, from = min(n, lane * run), to = min(n, from + run);
  uint more = 0, same = 0;
  for (int i = from; i < to; ++i) {
    const uint key = key_of(x[row * uint(columns) + uint(i)]);
    more += key > limit ? 1 : 0;
    same += key == limit ? 1 : 0;
  }
  above[lane] = more, equal[lane] = same;
  barrier();
  uint equals_before = 0, at = 0;
  for (int i = 0; i < lane; ++i) at += above[i], equals_before += equal[i];
  at += min(equals_before, wanted);
  for (int i = from; i < to; ++i) {
    const uint key = key_of(x[row * uint(columns) + uint(i)]);
    if (key > limit || (key == limit && equals_before++ < wanted)) result[row * uint(k) + at++] = i;
  }
}
