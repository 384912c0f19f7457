#include "sim/scenario/fleet_spec.h"

#include "sim/scenario/policy_rules.h"

namespace kvsim {

bool Codec<AutoscalingSpec>::read(const Tree& t, AutoscalingSpec& out, Reader& r) {
  return read_policy_and_rules("scaler", "such as {policy: queue-length}", t, out.policy.name,
                               out.policy.params, out.rules, r);
}

Tree Codec<AutoscalingSpec>::write(const AutoscalingSpec& v) {
  return Tree::merged(Codec<Choice<"scaler", "policy">>::write(v.policy), write_fields(v.rules));
}

TypeInfo Codec<AutoscalingSpec>::info() {
  TypeInfo i = Codec<Choice<"scaler", "policy">>::info();
  i.fields = describe_fields<AutoscalingRules>();
  return i;
}

}  // namespace kvsim
