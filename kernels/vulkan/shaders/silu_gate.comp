#version 460
// out = gate / (1 + exp(-gate)) * up.
#extension GL_GOOGLE_include_directive : require
layout(local_size_x_id = 0) in;
layout(std430, set = 0, binding = 0) readonly buffer Gate { float gate[]; };
layout(std430, set = 0, binding = 1) readonly buffer Up { float up[]; };
layout(std430, set = 0, binding = 2) writeonly buffer Out { float result[]; };
layout(push_constant) uniform Push { uint first, count; };
#include "math.glsl"

void main() {
  const uint i = gl_GlobalInvocationID.x + first;
  if (i >= count) return;
  // By whichever exponential is below 1: the other may overflow.
  const float g = gate[i], e = exact_exp(-abs(g));
  result[i] = g * (g < 0 ? e : 1.0) / (1.0 + e) * up[i];
}
