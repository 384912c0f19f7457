#version 460
// Euclidean length of each row.
layout(local_size_x_id = 0) in;
layout(std430, set = 0, binding = 0) readonly buffer In { float x[]; };
layout(std430, set = 0, binding = 1) writeonly buffer Out { float result[]; };
layout(push_constant) uniform Push { uint first, rows, dim; };

void main() {
  const uint t = gl_GlobalInvocationID.x + first;
  if (t >= rows) return;
  float sum = 0;
  for (uint d = 0; d < dim; ++d) sum += x[t * dim + d] * x[t * dim + d];
  result[t] = sqrt(sum);
}
