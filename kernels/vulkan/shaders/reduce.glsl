// Maxima and sums over a workgroup. Usage: every invocation calls share_max (or share_sum) for slots
// 0 .. SLOTS - 1, then barrier(), then reads shared_max (shared_sum); a barrier() before the next share.
// Needs WIDTH (the workgroup's width) and SLOTS before the include. No assumption about the subgroup's size.
#if SUBGROUPS
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#define PARTS int(gl_NumSubgroups)
#else
#define PARTS WIDTH
#endif
shared float partials[SLOTS * WIDTH];

void share(int slot, float value) {
#if SUBGROUPS
  if (subgroupElect()) partials[slot * WIDTH + int(gl_SubgroupID)] = value;
#else
  partials[slot * WIDTH + int(gl_LocalInvocationIndex)] = value;
#endif
}
void share_max(int slot, float value) {
#if SUBGROUPS
  value = subgroupMax(value);
#endif
  share(slot, value);
}
void share_sum(int slot, float value) {
#if SUBGROUPS
  value = subgroupAdd(value);
#endif
  share(slot, value);
}
float shared_max(int slot) {
  float result = partials[slot * WIDTH];
  for (int i = 1; i < PARTS; ++i) result = max(result, partials[slot * WIDTH + i]);
  return result;
}
float shared_sum(int slot) {
  float result = partials[slot * WIDTH];
  for (int i = 1; i < PARTS; ++i) result += partials[slot * WIDTH + i];
  return result;
}
