// refused: no match for .operator|invalid operands to binary expression
#include "sim/base/fields.h"
#include "sim/base/id.h"

namespace kvsim {
constexpr bool kMixed = RequestId{1} == InstanceId{1};
}  // namespace kvsim
