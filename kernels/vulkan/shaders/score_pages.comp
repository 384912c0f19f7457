#version 460
// Upper bound of q . key over a page (Quest): sum over channels of max(q * minimum, q * maximum).
layout(local_size_x_id = 0) in;
layout(std430, set = 0, binding = 0) readonly buffer Table { int table[]; };
layout(std430, set = 0, binding = 1) readonly buffer Lengths { int lengths[]; };
layout(std430, set = 0, binding = 2) readonly buffer Summaries { vec4 summaries[]; };
layout(std430, set = 0, binding = 3) readonly buffer Query { vec4 q[]; };
layout(std430, set = 0, binding = 4) writeonly buffer Out { float result[]; };
layout(push_constant) uniform Push {
  uint first_page;
  int max_pages, q_heads, kv_heads, k4, page_tokens;
};

void main() {
  const int p = int(gl_GlobalInvocationID.x + first_page), head = int(gl_WorkGroupID.y),
            sequence = int(gl_WorkGroupID.z), row = sequence * q_heads + head;
  if (p >= max_pages) return;
  float sum = uintBitsToFloat(0xff800000u);
  if (p * page_tokens < lengths[sequence]) {
    const int page = table[sequence * max_pages + p];
    const int at = (page * kv_heads + head / (q_heads / kv_heads)) * 2 * k4;
    sum = 0;
    for (int i = 0; i < k4; ++i) {
      const vec4 x = q[row * k4 + i];
      const vec4 most = max(x * summaries[at + i], x * summaries[at + k4 + i]);
      sum += most.x + most.y + most.z + most.w;
    }
  }
  result[row * max_pages + p] = sum;
}
