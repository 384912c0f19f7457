#version 460
// s[g][t] = sum over queries of the mean or maximum over the heads of group g (kernels/scores.h).
layout(local_size_x_id = 0) in;
layout(constant_id = 1) const int MAXIMUM = 0;
layout(std430, set = 0, binding = 0) readonly buffer In { float x[]; };
layout(std430, set = 0, binding = 1) writeonly buffer Out { float result[]; };
layout(push_constant) uniform Push { uint first_column; int first_query, queries, q_heads, group, columns; };

void main() {
  const int t = int(gl_GlobalInvocationID.x + first_column), g = int(gl_WorkGroupID.y);
  if (t >= columns) return;
  float sum = 0;
  for (int query = first_query; query < queries; ++query) {
    const int row = query * q_heads + g * group;
    float of_heads = x[row * columns + t];
    for (int h = 1; h < group; ++h) {
      const float value = x[(row + h) * columns + t];
      of_heads = MAXIMUM != 0 ? max(of_heads, value) : of_heads + value;
    }
    sum += MAXIMUM != 0 ? of_heads : of_heads / float(group);
  }
  result[g * columns + t] = sum;
}
