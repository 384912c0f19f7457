#version 460
// out[c] = weighted mean of the rows of cluster c; 0 when they weigh nothing.
layout(local_size_x_id = 0) in;
layout(std430, set = 0, binding = 0) readonly buffer In { float x[]; };
layout(std430, set = 0, binding = 1) readonly buffer Cluster { int cluster[]; };
layout(std430, set = 0, binding = 2) readonly buffer Weight { float weight[]; };
layout(std430, set = 0, binding = 3) writeonly buffer Out { float result[]; };
layout(push_constant) uniform Push { uint first, count, tokens, dim; };

void main() {
  const uint i = gl_GlobalInvocationID.x + first;
  if (i >= count) return;
  const int c = int(i / dim);
  float sum = 0, total = 0;
  for (uint t = 0; t < tokens; ++t) {
    if (cluster[t] != c) continue;
    sum += weight[t] * x[t * dim + i % dim];
    total += weight[t];
  }
  result[i] = total == 0 ? 0.0 : sum / total;
}
