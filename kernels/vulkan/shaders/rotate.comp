#version 460
// Some stages of the Walsh-Hadamard butterfly, in place, by the factor given. A workgroup holds ROWS * COLUMNS
// numbers: rows `stride` apart, each of COLUMNS neighbours. Partners are 1, 2, 4 .. 2^(STAGES - 1) rows apart.
layout(local_size_x_id = 0) in;
layout(constant_id = 0) const int WIDTH = 128;
layout(constant_id = 1) const int ROWS = 512;
layout(constant_id = 2) const int COLUMNS = 1;
layout(constant_id = 3) const int STAGES = 7;
layout(std430, set = 0, binding = 0) buffer Numbers { float x[]; };
layout(push_constant) uniform Push { uint first, count, stride; float factor; };

const uint kHeld = ROWS * COLUMNS;
shared float held[kHeld];

void main() {
  const uint group = gl_WorkGroupID.x + first, lane = gl_LocalInvocationIndex, across = stride / COLUMNS;
  const uint base = group / across * ROWS * stride + group % across * COLUMNS;
  for (uint i = lane; i < kHeld; i += WIDTH) {
    const uint at = base + i / COLUMNS * stride + i % COLUMNS;
    held[i] = at < count ? x[at] * factor : 0.0;
  }
  barrier();
  for (uint s = 0; s < STAGES; ++s) {
    const uint apart = COLUMNS << s;
    for (uint i = lane; i < kHeld / 2; i += WIDTH) {
      const uint a = i / apart * 2 * apart + i % apart;
      const float lower = held[a], upper = held[a + apart];
      held[a] = lower + upper;
      held[a + apart] = lower - upper;
    }
    barrier();
  }
  for (uint i = lane; i < kHeld; i += WIDTH) {
    const uint at = base + i / COLUMNS * stride + i % COLUMNS;
    if (at < count) x[at] = held[i];
  }
}
