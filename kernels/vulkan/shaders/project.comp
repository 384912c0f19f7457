#version 460
// y = basis x per token and group of heads, or x = basis^T y (kernels/low_rank.h).
layout(local_size_x_id = 0) in;
layout(constant_id = 1) const int TRANSPOSED = 0;
layout(std430, set = 0, binding = 0) readonly buffer Bases { float bases[]; };  // [group][rank][dim]
layout(std430, set = 0, binding = 1) readonly buffer In { float x[]; };
layout(std430, set = 0, binding = 2) writeonly buffer Out { float result[]; };
layout(push_constant) uniform Push { uint first, count, groups, rank, dim; };

void main() {
  const uint i = gl_GlobalInvocationID.x + first;
  if (i >= count) return;
  const uint width = TRANSPOSED != 0 ? dim : rank, depth = TRANSPOSED != 0 ? rank : dim;
  const uint place = i % width, row = i / width, base = row % groups * rank * dim;
  float sum = 0;
  for (uint k = 0; k < depth; ++k)
    sum += bases[base + (TRANSPOSED != 0 ? k * dim + place : place * dim + k)] * x[row * depth + k];
  result[i] = sum;
}
