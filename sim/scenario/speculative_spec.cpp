#include "sim/scenario/speculative_spec.h"

#include <fmt/format.h>

namespace kvsim {

bool Codec<Acceptance>::read(const Tree& t, Acceptance& out, Reader& r) {
  std::vector<double> chances;
  if (t.is_scalar()) {
    chances.resize(1);
    if (!Codec<double>::read(t, chances[0], r)) return false;
  } else if (!Codec<std::vector<double>>::read(t, chances, r)) {
    return false;
  }
  if (chances.empty()) {
    r.error(t, "an empty list", "give a chance for each position, such as [0.8, 0.7]");
    return false;
  }
  for (const double a : chances)
    if (!(a >= 0 && a <= 1)) {
      r.error(t, fmt::format("{} is out of bounds: 0 to 1", a));
      return false;
    }
  out.chances = std::move(chances);
  return true;
}

Tree Codec<Acceptance>::write(const Acceptance& v) {
  return v.chances.size() == 1 ? Codec<double>::write(v.chances[0])
                               : Codec<std::vector<double>>::write(v.chances);
}

TypeInfo Codec<Acceptance>::info() {
  return detail::scalar_type("number or list of numbers", "number or array");
}

}  // namespace kvsim
