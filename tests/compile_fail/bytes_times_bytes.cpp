// refused: no match for .operator|invalid operands to binary expression
#include "sim/base/fields.h"
#include "sim/base/id.h"

namespace kvsim {
constexpr auto kMixed = Bytes{2} * Bytes{2};
}  // namespace kvsim
