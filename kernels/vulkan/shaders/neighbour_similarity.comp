#version 460
// out[t] = cosine of rows t and t + 1.
#extension GL_GOOGLE_include_directive : require
layout(local_size_x_id = 0) in;
layout(std430, set = 0, binding = 0) readonly buffer In { float x[]; };
layout(std430, set = 0, binding = 1) readonly buffer Lengths { float lengths[]; };
layout(std430, set = 0, binding = 2) writeonly buffer Out { float result[]; };
layout(push_constant) uniform Push { uint first, count, dim; };
#include "cosine.glsl"

void main() {
  const uint t = gl_GlobalInvocationID.x + first;
  if (t < count) result[t] = cosine(t, t + 1);
}
