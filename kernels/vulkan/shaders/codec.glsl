// A codec of matrices [tokens][dims] (kernels/quantize.h, Codec).
layout(constant_id = 1) const int WIDTH_KIND = 1;  // CodeWidth: 8, 4, 3, 2 bits, ternary
layout(constant_id = 2) const int BY_CHANNEL = 0;
layout(constant_id = 3) const int SYMMETRIC = 0;
layout(constant_id = 4) const int BOOK = 0;  // codes are places in book[]
layout(constant_id = 5) const int LEVELS = 16;
layout(push_constant) uniform Push {
  uint first, count;
  int tokens, dims, group;  // group: numbers that share a scale
  int groups_per_row, row_bytes;
  float low_entry, high_entry;
};

int group_of(int t, int d) {
  return BY_CHANNEL != 0 ? t / group * groups_per_row + d : t * groups_per_row + d / group;
}
