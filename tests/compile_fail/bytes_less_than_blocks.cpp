// refused: no match for .operator|invalid operands to binary expression
#include "sim/base/fields.h"
#include "sim/base/id.h"

namespace kvsim {
constexpr bool kMixed = Bytes{1} < Blocks{1};
}  // namespace kvsim
