#version 460
// The inner hash of each block of token ids (kernels/hash.h), of all blocks at once.
#extension GL_GOOGLE_include_directive : require
layout(local_size_x_id = 0) in;
layout(std430, set = 0, binding = 0) readonly buffer Ids { uint ids[]; };
layout(std430, set = 0, binding = 1) readonly buffer Blocks { uint starts[]; };  // first id of each block
layout(std430, set = 0, binding = 2) writeonly buffer Out { uvec2 inner[]; };
layout(push_constant) uniform Push { uint first, count, tokens; };
#include "wide.glsl"

uint id(uint start, uint i) { return i < tokens ? ids[start + i] : 0; }
void main() {
  const uint block = gl_GlobalInvocationID.x + first;
  if (block >= count) return;
  const uint start = starts[block];
  uvec2 result = uvec2(0);
  for (uint i = 0; 4 * i < tokens; ++i) {
    const uvec2 a = uvec2(id(start, 4 * i), id(start, 4 * i + 1));
    const uvec2 b = uvec2(id(start, 4 * i + 2), id(start, 4 * i + 3));
    result ^= mix(a ^ s(uvec2(2 * i, 0)), b ^ s(uvec2(2 * i + 1, 0)));
  }
  inner[block] = result;
}
