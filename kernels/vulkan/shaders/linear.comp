#version 460
// out[m][n] = sum_k x[m][k] * weight[n][k]; a workgroup reads one row of weights once for ROWS rows of x.
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
layout(local_size_x_id = 0) in;
layout(constant_id = 0) const int WIDTH = 128;
layout(constant_id = 1) const int HALF = 0;
layout(constant_id = 2) const int ROWS = 4;
layout(std430, set = 0, binding = 0) readonly buffer Weight { uint weight[]; };
layout(std430, set = 0, binding = 1) readonly buffer In { float x[]; };
layout(std430, set = 0, binding = 2) writeonly buffer Out { float result[]; };
layout(push_constant) uniform Push { uint first_output, in_dim, out_dim, rows; };
#define SLOTS ROWS
#include "reduce.glsl"

float weight_at(uint i) {
  if (HALF == 0) return uintBitsToFloat(weight[i]);
  const vec2 pair = unpackHalf2x16(weight[i >> 1]);
  return (i & 1u) == 0 ? pair.x : pair.y;
}
void main() {
  const uint n = gl_WorkGroupID.x + first_output, first = gl_WorkGroupID.y * ROWS;
  const uint lane = gl_LocalInvocationIndex;
  float sum[ROWS];
  [[unroll]] for (int r = 0; r < ROWS; ++r) sum[r] = 0;
  for (uint k = lane; k < in_dim; k += WIDTH) {
    const float w = weight_at(n * in_dim + k);
    [[unroll]] for (int r = 0; r < ROWS; ++r) sum[r] += w * x[min(first + r, rows - 1) * in_dim + k];
  }
  [[unroll]] for (int r = 0; r < ROWS; ++r) share_sum(r, sum[r]);
  barrier();
  if (lane != 0) return;
  for (uint r = 0; r < ROWS && first + r < rows; ++r)
    result[(first + r) * out_dim + n] = shared_sum(int(r));
}
