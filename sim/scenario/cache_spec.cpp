#include "sim/scenario/cache_spec.h"

namespace kvsim {

// `prefetch: on-arrival` is short for `prefetch: {policy: on-arrival}`.
bool Codec<PrefetchSpec>::read(const Tree& t, PrefetchSpec& out, Reader& r) {
  return t.is_scalar() ? Codec<PrefetchRule>::read(t, out.policy, r) : read_fields(out, t, r);
}

Tree Codec<PrefetchSpec>::write(const PrefetchSpec& v) { return write_fields(v); }

TypeInfo Codec<PrefetchSpec>::info() {
  TypeInfo i;
  i.shape = TypeInfo::Shape::map;
  i.name = "a prefetch policy, or a mapping";
  i.names = Codec<PrefetchRule>::info().names;
  i.fields = describe_fields<PrefetchSpec>();
  return i;
}

}  // namespace kvsim
