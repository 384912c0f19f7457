// The format of a paged KV cache (kernels/kv_cache.h): constants 1 to 8, the pages at binding 0, and the
// first words of the push constants, which begin with KV_PUSH.
layout(constant_id = 1) const int BITS = 16;
layout(constant_id = 2) const int BFLOAT = 0;
layout(constant_id = 3) const int DIM_MAJOR = 0;
layout(constant_id = 4) const int VALUES_IN_KEYS = 0;
layout(constant_id = 5) const int K_DIM = 128;
layout(constant_id = 6) const int V_DIM = 128;
layout(constant_id = 7) const int PAGE_TOKENS = 16;
layout(constant_id = 8) const int GROUP_TOKENS = 64;
layout(std430, set = 0, binding = 0) readonly buffer Pages4 { uvec4 pages4[]; };
layout(std430, set = 0, binding = 0) readonly buffer Pages2 { uvec2 pages2[]; };
layout(std430, set = 0, binding = 0) readonly buffer Pages1 { uint pages1[]; };
#define KV_PUSH                                                                   \
  uint first_item;                               /* of this dispatch */            \
  uint page_stride, head_stride, values_offset;  /* in 16 bytes */                 \
  uint key_scales, value_scales;                 /* in 4 bytes, from the head page */
#include "numbers.glsl"
