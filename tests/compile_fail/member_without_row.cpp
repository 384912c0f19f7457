// refused: a member has no row in kFields
#include "sim/base/fields.h"
#include "sim/base/id.h"

namespace kvsim {
struct Forgetful {
  int a = 0;
  int b = 0;
  static constexpr Rows kFields{field("a", &Forgetful::a, any, "")};
};
inline auto described() { return describe_fields<Forgetful>(); }
}  // namespace kvsim
