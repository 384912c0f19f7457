#version 460
// Moves blocks between memory layouts, 16 bytes per invocation; the layouts are strides.
layout(local_size_x_id = 0) in;
layout(std430, set = 0, binding = 0) readonly buffer Source { uvec4 source[]; };
layout(std430, set = 0, binding = 1) writeonly buffer Target { uvec4 target[]; };
layout(std430, set = 0, binding = 2) readonly buffer Blocks { uvec2 blocks[]; };  // from, to
layout(push_constant) uniform Push {
  uint first, count, head_words, heads, layers;  // words of 16 bytes
  uint from_layer, from_block, from_head, to_layer, to_block, to_head;
};

void main() {
  const uint i = gl_GlobalInvocationID.x + first;
  if (i >= count) return;
  const uint part = i % head_words, head = i / head_words % heads,
             layer = i / head_words / heads % layers;
  const uvec2 block = blocks[i / head_words / heads / layers];
  target[layer * to_layer + block.y * to_block + head * to_head + part] =
      source[layer * from_layer + block.x * from_block + head * from_head + part];
}
