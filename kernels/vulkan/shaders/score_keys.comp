#version 460
// out[query][head][t] = scale * q . key[t]; -infinity where the query does not see t.
#extension GL_GOOGLE_include_directive : require
layout(local_size_x_id = 0) in;
#include "kv_format.glsl"
layout(std430, set = 0, binding = 1) readonly buffer Table { int table[]; };
layout(std430, set = 0, binding = 2) readonly buffer Queries { ivec2 queries[]; };  // sequence, position
layout(std430, set = 0, binding = 3) readonly buffer Query { vec4 q[]; };
layout(std430, set = 0, binding = 4) writeonly buffer Out { float result[]; };
layout(push_constant) uniform Push {
  KV_PUSH
  int max_pages, q_heads, group, columns;
  float scale;
};
#include "kv.glsl"

void main() {
  const int t = int(gl_GlobalInvocationID.x + first_item), head = int(gl_WorkGroupID.y),
            query = int(gl_WorkGroupID.z), row = query * q_heads + head;
  if (t >= columns) return;
  const ivec2 of = queries[query];
  float sum = uintBitsToFloat(0xff800000u);
  if (t <= of.y) {
    const uint base = head_page(table[of.x * max_pages + t / PAGE_TOKENS], head / group);
    sum = 0;
    for (int d = 0; d < K_DIM; d += 4)
      sum += dot(q[(row * K_DIM + d) / 4], key4(base, t % PAGE_TOKENS, d));
    sum *= scale;
  }
  result[row * columns + t] = sum;
}
