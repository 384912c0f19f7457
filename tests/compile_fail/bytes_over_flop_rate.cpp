// refused: no match for .operator|invalid operands to binary expression
#include "sim/base/fields.h"
#include "sim/base/id.h"

namespace kvsim {
const auto kMixed = Bytes{1} / FlopRate{1e9};
}  // namespace kvsim
