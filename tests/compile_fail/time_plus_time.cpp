// refused: no match for .operator|invalid operands to binary expression
#include "sim/base/fields.h"
#include "sim/base/id.h"

namespace kvsim {
constexpr auto kMixed = kTimeZero + kTimeZero;
}  // namespace kvsim
