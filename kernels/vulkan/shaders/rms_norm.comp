#version 460
// out = x / sqrt(mean(x^2) + epsilon) * weight, per row.
#extension GL_GOOGLE_include_directive : require
layout(local_size_x_id = 0) in;
layout(constant_id = 0) const int WIDTH = 128;
layout(std430, set = 0, binding = 0) readonly buffer In { float x[]; };
layout(std430, set = 0, binding = 1) readonly buffer Weight { float weight[]; };
layout(std430, set = 0, binding = 2) writeonly buffer Out { float result[]; };
layout(push_constant) uniform Push { uint first_row, dim; float epsilon; };
#define SLOTS 1
#include "reduce.glsl"

void main() {
  const uint row = (gl_WorkGroupID.x + first_row) * dim, lane = gl_LocalInvocationIndex;
  float sum = 0;
  for (uint i = lane; i < dim; i += WIDTH) sum += x[row + i] * x[row + i];
  share_sum(0, sum);
  barrier();
  const float factor = 1.0 / sqrt(shared_sum(0) / float(dim) + epsilon);
  for (uint i = lane; i < dim; i += WIDTH) result[row + i] = x[row + i] * factor * weight[i];
}
