// refused: could not convert|no viable conversion|conversion from .* to non-scalar|no known
// conversion|no matching (function|constructor)
#include "sim/base/fields.h"
#include "sim/base/id.h"

namespace kvsim {
constexpr Bytes kMixed = 80;
}  // namespace kvsim
