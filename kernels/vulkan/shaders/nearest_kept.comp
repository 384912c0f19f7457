#version 460
// The kept row of largest cosine, the first of equal ones; -1 below the threshold (kernels/merge.h).
#extension GL_GOOGLE_include_directive : require
layout(local_size_x_id = 0) in;
layout(std430, set = 0, binding = 0) readonly buffer In { float x[]; };
layout(std430, set = 0, binding = 1) readonly buffer Lengths { float lengths[]; };
layout(std430, set = 0, binding = 2) readonly buffer Kept { uint kept[]; };
layout(std430, set = 0, binding = 3) writeonly buffer Cluster { int cluster[]; };
layout(std430, set = 0, binding = 4) writeonly buffer Similarity { float similarity[]; };
layout(push_constant) uniform Push { uint first, count, dim, kept_count; float threshold; };
#include "cosine.glsl"

void main() {
  const uint t = gl_GlobalInvocationID.x + first;
  if (t >= count) return;
  int best = -1;
  float most = -2;
  for (uint c = 0; c < kept_count; ++c) {
    const float s = kept[c] == t ? 3.0 : cosine(t, kept[c]);
    if (s > most) most = s, best = int(c);
  }
  most = best < 0 ? 0.0 : min(most, 1.0);
  cluster[t] = most < threshold ? -1 : best;
  similarity[t] = most;
}
