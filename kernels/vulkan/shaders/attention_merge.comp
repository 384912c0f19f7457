#version 460
// Joins the parts of a query row: out = sum_i 2^(m_i - M) o_i / sum_i 2^(m_i - M) l_i. A part in which
// nothing was visible has l = 0; its o is not read. A row without parts, or only such, gives zeros.
layout(local_size_x_id = 0) in;
layout(constant_id = 0) const int WIDTH = 64;
layout(std430, set = 0, binding = 0) readonly buffer Slots { uvec2 slots[]; };
layout(std430, set = 0, binding = 1) readonly buffer Stats { vec2 stats[]; };
layout(std430, set = 0, binding = 2) readonly buffer Sums { float sums[]; };
layout(std430, set = 0, binding = 3) writeonly buffer Out { float result[]; };
layout(push_constant) uniform Push { uint first_row, q_heads, v_dim; };

void main() {
  const uint row = gl_WorkGroupID.x + first_row, query = row / q_heads, head = row % q_heads;
  const uvec2 range = slots[query];
  float most = -3.0e38, total = 0;
  for (uint i = 0; i < range.y; ++i) {
    const vec2 part = stats[(range.x + i) * q_heads + head];
    if (part.y > 0) most = max(most, part.x);
  }
  for (uint i = 0; i < range.y; ++i) {
    const vec2 part = stats[(range.x + i) * q_heads + head];
    if (part.y > 0) total += exp2(part.x - most) * part.y;
  }
  for (uint d = gl_LocalInvocationID.x; d < v_dim; d += WIDTH) {
    float sum = 0;
    for (uint i = 0; i < range.y; ++i) {
      const uint at = (range.x + i) * q_heads + head;
      if (stats[at].y > 0) sum += exp2(stats[at].x - most) * sums[at * v_dim + d];
    }
    result[row * v_dim + d] = total > 0 ? sum / total : 0.0;
  }
}
