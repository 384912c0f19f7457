#pragma once
// Dense indices that do not mix: an Id<RequestTag> is no Id<BlockTag>.
#include <compare>
#include <cstdint>

namespace kvsim {

template <class Tag>
struct Id {
  std::uint32_t index = 0xffffffffU;
  constexpr Id() = default;
  constexpr explicit Id(std::uint32_t i) : index(i) {}
  [[nodiscard]] constexpr bool valid() const { return index != 0xffffffffU; }
  constexpr auto operator<=>(const Id&) const = default;
};

using RequestId = Id<struct RequestTag>;
using InstanceId = Id<struct InstanceTag>;

}  // namespace kvsim
