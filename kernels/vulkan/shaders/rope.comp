#version 460
// Turns pairs of numbers of each head by the angles of their row (kernels/transformer.h).
layout(local_size_x_id = 0) in;
layout(constant_id = 1) const int ADJACENT = 0;
layout(std430, set = 0, binding = 0) readonly buffer Turns { vec2 turns[]; };  // [row][pair] cos, sin
layout(std430, set = 0, binding = 1) buffer Heads { float x[]; };
layout(push_constant) uniform Push { uint first, count, heads, pairs; };

void main() {
  const uint i = gl_GlobalInvocationID.x + first;
  if (i >= count) return;
  const uint pair = i % pairs, head = i / pairs;  // counted over all rows
  const uint a = head * pairs * 2 + (ADJACENT != 0 ? pair * 2 : pair), b = a + (ADJACENT != 0 ? 1 : pairs);
  const vec2 turn = turns[head / heads * pairs + pair];
  const vec2 old = vec2(x[a], x[b]);
  x[a] = old.x * turn.x - old.y * turn.y;
  x[b] = old.x * turn.y + old.y * turn.x;
}
