#pragma once
// Counted quantities that do not mix, and measured rates. Same kinds add; a quantity scales by
// integers; across kinds only what physics allows.
#include <compare>
#include <cstdint>

#include "sim/base/time.h"

namespace kvsim {

template <class Tag>
class Quantity {
 public:
  constexpr Quantity() = default;
  constexpr explicit Quantity(std::int64_t count) : count_(count) {}
  [[nodiscard]] constexpr std::int64_t count() const { return count_; }
  constexpr auto operator<=>(const Quantity&) const = default;
  constexpr Quantity& operator+=(Quantity o) { return count_ += o.count_, *this; }
  constexpr Quantity& operator-=(Quantity o) { return count_ -= o.count_, *this; }
  friend constexpr Quantity operator+(Quantity a, Quantity b) { return a += b; }
  friend constexpr Quantity operator-(Quantity a, Quantity b) { return a -= b; }
  friend constexpr Quantity operator*(Quantity a, std::int64_t k) { return Quantity{a.count_ * k}; }
  friend constexpr Quantity operator*(std::int64_t k, Quantity a) { return a * k; }
  // How many whole b fit into a.
  friend constexpr std::int64_t operator/(Quantity a, Quantity b) { return a.count_ / b.count_; }
  friend constexpr Quantity operator/(Quantity a, std::int64_t k) { return Quantity{a.count_ / k}; }

 private:
  std::int64_t count_ = 0;
};

template <class Tag>
constexpr double to_double(Quantity<Tag> q) {
  return static_cast<double>(q.count());
}

using Bytes = Quantity<struct BytesTag>;
using Tokens = Quantity<struct TokensTag>;
using Blocks = Quantity<struct BlocksTag>;

// A measured, real-valued magnitude in SI base units (bytes/s, flop/s, W, USD/h, ...).
template <class Tag>
struct Real {
  double value = 0;
  constexpr Real() = default;
  constexpr explicit Real(double v) : value(v) {}
  constexpr auto operator<=>(const Real&) const = default;
};

using Bandwidth = Real<struct BandwidthTag>;  // bytes per second
using FlopRate = Real<struct FlopRateTag>;    // floating-point operations per second
using Power = Real<struct PowerTag>;          // watts
using Price = Real<struct PriceTag>;          // US dollars per hour
using Ratio = Real<struct RatioTag>;          // 0.5 is 50 %
using Rate = Real<struct RateTag>;            // events per second

// Rounded up to the nanosecond. Requires a positive bandwidth.
constexpr Duration operator/(Bytes b, Bandwidth w) {
  return from_ns_ceil(static_cast<double>(b.count()) / w.value * 1e9);
}

namespace literals {
constexpr Ratio operator""_percent(unsigned long long v) {
  return Ratio{static_cast<double>(v) / 100.0};
}
constexpr Bytes operator""_KiB(unsigned long long v) {
  return Bytes{static_cast<std::int64_t>(v) << 10};
}
constexpr Bytes operator""_MiB(unsigned long long v) {
  return Bytes{static_cast<std::int64_t>(v) << 20};
}
constexpr Bytes operator""_GiB(unsigned long long v) {
  return Bytes{static_cast<std::int64_t>(v) << 30};
}
}  // namespace literals

}  // namespace kvsim
