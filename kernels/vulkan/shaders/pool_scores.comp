#version 460
// out[g][t] (+)= mean or maximum of s[g][t - reach .. t + reach] within the row (kernels/scores.h).
layout(local_size_x_id = 0) in;
layout(constant_id = 1) const int MAXIMUM = 0;
layout(constant_id = 2) const int ACCUMULATE = 0;
layout(std430, set = 0, binding = 0) readonly buffer In { float s[]; };
layout(std430, set = 0, binding = 1) buffer Out { float result[]; };
layout(push_constant) uniform Push { uint first_column; int columns, reach; };

void main() {
  const int t = int(gl_GlobalInvocationID.x + first_column), row = int(gl_WorkGroupID.y) * columns;
  if (t >= columns) return;
  const int from = max(0, t - reach), to = min(columns - 1, t + reach);
  float pooled = s[row + from];
  for (int i = from + 1; i <= to; ++i)
    pooled = MAXIMUM != 0 ? max(pooled, s[row + i]) : pooled + s[row + i];
  if (MAXIMUM == 0) pooled /= float(to - from + 1);
  result[row + t] = ACCUMULATE != 0 ? result[row + t] + pooled : pooled;
}
