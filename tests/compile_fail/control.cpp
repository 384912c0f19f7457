// What is allowed; the other files here each differ in one place.
#include "sim/base/fields.h"
#include "sim/base/id.h"

namespace kvsim {
constexpr Bytes kSum = Bytes{1} + Bytes{2};
constexpr Time kLater = kTimeZero + Duration{5};
constexpr Duration kSpan = kLater - kTimeZero;
const Duration kTransfer = Bytes{100} / Bandwidth{1e9};
constexpr bool kSame = RequestId{1} == RequestId{1};

struct Complete {
  int a = 0;
  Bytes b;
  static constexpr Rows kFields{field("a", &Complete::a, any, ""),
                                field("b", &Complete::b, any, "")};
};
inline auto described() { return describe_fields<Complete>(); }
}  // namespace kvsim
