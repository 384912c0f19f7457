#pragma once
// The `economics` part of a scenario: what a deployment costs and draws beyond what the catalogue
// says of its devices. Devices and drives have their own price and power (hardware/catalog).
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <tuple>

#include "sim/base/fields.h"

namespace kvsim {

// "0.12 USD/kWh": a number with the one unit of its kind.
template <class Tag>
struct UnitPrice {
  double value = 0;
  constexpr auto operator<=>(const UnitPrice&) const = default;
};
using EnergyPrice = UnitPrice<struct EnergyPriceTag>;  // US dollars per kWh
using MemoryPrice = UnitPrice<struct MemoryPriceTag>;  // US dollars per GiB and hour
using MemoryPower = UnitPrice<struct MemoryPowerTag>;  // watts per GiB

namespace detail {
// `unit` as written, an example for messages; values are not negative.
bool read_unit_price(const Tree&, const char* unit, const char* example, double& out, Reader&);
Tree write_unit_price(double, const char* unit);
template <class T>
struct UnitPriceCodec {
  static bool read(const Tree& t, T& out, Reader& r) {
    return read_unit_price(t, Codec<T>::kUnit, Codec<T>::kExample, out.value, r);
  }
  static Tree write(const T& v) { return write_unit_price(v.value, Codec<T>::kUnit); }
  static TypeInfo info() {
    return scalar_type(std::string("a figure such as ") + Codec<T>::kExample);
  }
};
}  // namespace detail

template <>
struct Codec<EnergyPrice> : detail::UnitPriceCodec<EnergyPrice> {
  static constexpr const char* kUnit = "USD/kWh";
  static constexpr const char* kExample = "0.12 USD/kWh";
};
template <>
struct Codec<MemoryPrice> : detail::UnitPriceCodec<MemoryPrice> {
  static constexpr const char* kUnit = "USD/GiB/h";
  static constexpr const char* kExample = "0.004 USD/GiB/h";
};
template <>
struct Codec<MemoryPower> : detail::UnitPriceCodec<MemoryPower> {
  static constexpr const char* kUnit = "W/GiB";
  static constexpr const char* kExample = "0.4 W/GiB";
};

enum class Billing : std::uint8_t { gpu, node };
constexpr auto enum_names(Billing) {
  return std::array{std::pair{Billing::gpu, "gpu"}, std::pair{Billing::node, "node"}};
}

// Sources of the defaults: pue: large operators publish 1.1 to 1.2, the Uptime Institute's survey
// of 2024 finds 1.56 on average. dram_price: AWS EC2 list, us-east-1, r5.large less m5.large, 8 GiB
// for 0.03 USD/h; indicative. host_share: at their limits a DGX A100 draws 6.5 kW for 3.2 kW of
// GPUs, a DGX H100 10.2 kW for 5.6 kW (data sheets); half of that in use is an assumption.
// dram_power: Cloud Carbon Footprint's method, 0.392 W a GB.
struct EconomicsSpec {
  double pue = 1.2;
  std::optional<EnergyPrice> electricity;
  std::optional<Price> gpu_price;
  MemoryPrice dram_price{0.00375};
  std::optional<MemoryPrice> ssd_price;
  Billing billing = Billing::gpu;
  Ratio host_share{0.45};
  MemoryPower dram_power{0.392};
  static constexpr Rows kFields{
      field("pue", &EconomicsSpec::pue, between(1.0, 5.0),
            "energy of the whole site over that of its machines"),
      field("electricity", &EconomicsSpec::electricity, any,
            "price of energy; default: rents include it"),
      field("gpu_price", &EconomicsSpec::gpu_price, any,
            "rent of one accelerator with its share of the machine; default: the catalogue's"),
      field("dram_price", &EconomicsSpec::dram_price, any,
            "rent of host memory that tiers of KV take"),
      field("ssd_price", &EconomicsSpec::ssd_price, any,
            "rent of drives by what tiers of KV take of them; default: the catalogue's price by "
            "capacity"),
      field("billing", &EconomicsSpec::billing, any,
            "gpu: accelerators of instances are paid for and draw power; node: every accelerator "
            "of a machine that is used at all"),
      field("host_share", &EconomicsSpec::host_share, between(Ratio{0}, Ratio{10}),
            "power of the rest of the machine (processors, fans, adapters), always, as a share of "
            "its accelerators' busy power"),
      field("dram_power", &EconomicsSpec::dram_power, any,
            "power of host memory that tiers of KV take")};
};

}  // namespace kvsim
