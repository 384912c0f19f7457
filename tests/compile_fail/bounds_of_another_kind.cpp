// refused: no match for|invalid operands|cannot convert|no matching function|no viable
// conversion|could not convert
#include "sim/base/fields.h"
#include "sim/base/id.h"

namespace kvsim {
struct Bounded {
  Bytes a;
  static constexpr Rows kFields{field("a", &Bounded::a, between(Duration{0}, Duration{1}), "")};
};
inline bool read(Bounded& b, const Tree& t, Reader& r) { return read_fields(b, t, r); }
}  // namespace kvsim
