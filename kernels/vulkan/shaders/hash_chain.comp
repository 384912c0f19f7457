#version 460
// Chains the inner hashes of each sequence (kernels/hash.h); an invocation per sequence.
#extension GL_GOOGLE_include_directive : require
layout(local_size_x_id = 0) in;
layout(std430, set = 0, binding = 0) readonly buffer Inner { uvec2 inner[]; };
// Of a sequence: its first block, number of blocks, and where its hashes begin.
layout(std430, set = 0, binding = 1) readonly buffer Sequences { uvec4 sequences[]; };
layout(std430, set = 0, binding = 2) writeonly buffer Out { uvec2 result[]; };
layout(push_constant) uniform Push { uint first, count, tokens, seed_low, seed_high; };
#include "wide.glsl"

void main() {
  const uint i = gl_GlobalInvocationID.x + first;
  if (i >= count) return;
  const uvec4 of = sequences[i];
  const uvec2 left = s(uvec2(0, 1)), right = s(uvec2(tokens, 1));
  uvec2 parent = uvec2(seed_low, seed_high);
  for (uint block = 0; block < of.y; ++block) {
    parent = mix(parent ^ left, inner[of.x + block] ^ right);
    result[of.z + block] = parent;
  }
}
