#version 460
// Per row: exp(x - m) / sum, or x - m - log(sum), with m the row's maximum. May be in place. -infinity
// gives 0.
#extension GL_GOOGLE_include_directive : require
layout(local_size_x_id = 0) in;
layout(constant_id = 0) const int WIDTH = 128;
layout(constant_id = 1) const int LOGARITHM = 0;
layout(std430, set = 0, binding = 0) readonly buffer In { float x[]; };
layout(std430, set = 0, binding = 1) writeonly buffer Out { float result[]; };
layout(push_constant) uniform Push { uint first_row, columns; };
#define SLOTS 1
#include "reduce.glsl"
#include "math.glsl"

float weight(float value, float most) {
  return value < -3.4e38 ? 0.0 : exact_exp(value - most);
}
void main() {
  const uint row = (gl_WorkGroupID.x + first_row) * columns, lane = gl_LocalInvocationIndex;
  float most = -3.4e38;
  for (uint i = lane; i < columns; i += WIDTH) most = max(most, x[row + i]);
  share_max(0, most);
  barrier();
  most = shared_max(0);
  barrier();
  float sum = 0;
  for (uint i = lane; i < columns; i += WIDTH) sum += weight(x[row + i], most);
  share_sum(0, sum);
  barrier();
  sum = shared_sum(0);
  for (uint i = lane; i < columns; i += WIDTH) {
    const float value = x[row + i];
    result[row + i] = LOGARITHM != 0 ? value - most - log(sum) : weight(value, most) / sum;
  }
}
