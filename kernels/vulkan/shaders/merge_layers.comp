#version 460
// Spherical interpolation of the rows a and b (kernels/merge.h); a workgroup per row.
#extension GL_GOOGLE_include_directive : require
layout(local_size_x_id = 0) in;
layout(constant_id = 0) const int WIDTH = 128;
layout(std430, set = 0, binding = 0) readonly buffer A { float a[]; };
layout(std430, set = 0, binding = 1) readonly buffer B { float b[]; };
layout(std430, set = 0, binding = 2) buffer Direction { float direction[]; };
layout(std430, set = 0, binding = 3) writeonly buffer LengthA { float length_a[]; };
layout(std430, set = 0, binding = 4) writeonly buffer LengthB { float length_b[]; };
layout(std430, set = 0, binding = 5) writeonly buffer Angle { float angles[]; };
layout(push_constant) uniform Push { uint first_row, dim; float at; };
#define SLOTS 2
#include "reduce.glsl"
#include "math.glsl"

const float PI = 3.14159265;
float sin_to_pi(float x) { return exact_sin(x > PI / 2 ? max(0.0, PI - x) : x); }

void main() {
  const uint row = gl_WorkGroupID.x + first_row, lane = gl_LocalInvocationIndex;
  float sum_a = 0, sum_b = 0;
  for (uint d = lane; d < dim; d += WIDTH) {
    sum_a += a[row * dim + d] * a[row * dim + d];
    sum_b += b[row * dim + d] * b[row * dim + d];
  }
  share_sum(0, sum_a);
  share_sum(1, sum_b);
  barrier();
  const float of_a = sqrt(shared_sum(0)), of_b = sqrt(shared_sum(1));
  barrier();
  const float unit_a = of_a > 0 ? 1.0 / of_a : 0.0, unit_b = of_b > 0 ? 1.0 / of_b : 0.0;
  // The half angle from the chord and the sum: exact where an arc cosine is not.
  float apart = 0, along = 0;
  for (uint d = lane; d < dim; d += WIDTH) {
    const float x = a[row * dim + d] * unit_a, y = b[row * dim + d] * unit_b;
    apart += (x - y) * (x - y);
    along += (x + y) * (x + y);
  }
  share_sum(0, apart);
  share_sum(1, along);
  barrier();
  const bool has_zero = of_a == 0 || of_b == 0;
  const float angle = has_zero ? 0.0 : 2.0 * exact_angle(sqrt(shared_sum(0)), sqrt(shared_sum(1)));
  barrier();
  float share_a = 1.0 - at, share_b = at;
  const float whole = sin_to_pi(angle);
  if (whole >= 1e-3) {
    share_a = sin_to_pi(share_a * angle) / whole;
    share_b = sin_to_pi(share_b * angle) / whole;
  }
  float squares = 0;
  for (uint d = lane; d < dim; d += WIDTH) {
    const float x = share_a * a[row * dim + d] * unit_a + share_b * b[row * dim + d] * unit_b;
    direction[row * dim + d] = x;
    squares += x * x;
  }
  share_sum(0, squares);
  barrier();
  const float size = sqrt(shared_sum(0));
  for (uint d = lane; d < dim; d += WIDTH)
    direction[row * dim + d] = size > 0 ? direction[row * dim + d] / size : 0.0;
  if (lane != 0) return;
  length_a[row] = of_a, length_b[row] = of_b, angles[row] = angle;
}
