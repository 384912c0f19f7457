// refused: a member has no row in kFields, or a row twice
#include "sim/base/fields.h"
#include "sim/base/id.h"

namespace kvsim {
struct Doubled {
  int a = 0;
  static constexpr Rows kFields{field("a", &Doubled::a, any, ""), field("b", &Doubled::a, any, "")};
};
inline auto described() { return describe_fields<Doubled>(); }
}  // namespace kvsim
