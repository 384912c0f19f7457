#include "sim/base/units.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <cstdint>
#include <span>

namespace kvsim {

namespace {

constexpr Unit kTime[] = {{"d", 86400e9}, {"h", 3600e9}, {"min", 60e9}, {"s", 1e9},
                          {"ms", 1e6},    {"us", 1e3},   {"ns", 1}};
constexpr Unit kBytes[] = {{"PiB", 0x1p50}, {"TiB", 0x1p40}, {"GiB", 0x1p30}, {"MiB", 0x1p20},
                           {"KiB", 0x1p10}, {"PB", 1e15},    {"TB", 1e12},    {"GB", 1e9},
                           {"MB", 1e6},     {"kB", 1e3},     {"KB", 1e3},     {"B", 1}};
constexpr Unit kBandwidth[] = {{"TB/s", 1e12},    {"GB/s", 1e9},     {"MB/s", 1e6},
                               {"kB/s", 1e3},     {"B/s", 1},        {"TiB/s", 0x1p40},
                               {"GiB/s", 0x1p30}, {"MiB/s", 0x1p20}, {"KiB/s", 0x1p10},
                               {"Tbit/s", 125e9}, {"Gbit/s", 125e6}, {"Mbit/s", 125e3}};
constexpr Unit kFlopRate[] = {
    {"PFLOP/s", 1e15}, {"TFLOP/s", 1e12}, {"GFLOP/s", 1e9}, {"MFLOP/s", 1e6}, {"FLOP/s", 1}};
constexpr Unit kPower[] = {{"kW", 1e3}, {"W", 1}};
constexpr Unit kPrice[] = {{"USD/h", 1}};
constexpr Unit kRatio[] = {{"%", 0.01}};
constexpr Unit kRate[] = {{"/s", 1}, {"/min", 1.0 / 60}, {"/h", 1.0 / 3600}};

struct Family {
  std::span<const Unit> units;
  const char* text;
};

Family family(Dimension d) {
  switch (d) {
    case Dimension::time:
      return {kTime, "a duration such as 150 us or 2 s (units: ns, us, ms, s, min, h, d)"};
    case Dimension::bytes:
      return {kBytes,
              "a size such as 80 GiB (units: B, kB, MB, GB, TB, PB, KiB, MiB, GiB, TiB, PiB)"};
    case Dimension::bandwidth:
      return {kBandwidth,
              "a bandwidth such as 3.35 TB/s (units: B/s, kB/s, MB/s, GB/s, TB/s, their binary "
              "forms, Gbit/s)"};
    case Dimension::flop_rate:
      return {kFlopRate,
              "a compute rate such as 989 TFLOP/s (units: FLOP/s, GFLOP/s, TFLOP/s, PFLOP/s)"};
    case Dimension::power:
      return {kPower, "a power such as 700 W (units: W, kW)"};
    case Dimension::price:
      return {kPrice, "a price such as 2.5 USD/h"};
    case Dimension::ratio:
      return {kRatio, "a share such as 10 % or 0.1"};
    case Dimension::rate:
      return {kRate, "a rate such as 3.4 /s (units: /s, /min, /h)"};
    case Dimension::none:
      break;
  }
  return {{}, "a number"};
}

std::string_view trim(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t')) s.remove_suffix(1);
  return s;
}

// Splits "1.5 GiB" into its number and its unit; empty number when the text does not begin with
// one.
std::pair<std::string_view, std::string_view> split(std::string_view text) {
  text = trim(text);
  double ignored = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), ignored);
  if (error != std::errc{}) return {{}, text};
  const auto n = static_cast<std::size_t>(end - text.data());
  return {text.substr(0, n), trim(text.substr(n))};
}

const Unit* find_unit(Dimension d, std::string_view name) {
  for (const Unit& u : family(d).units)
    if (u.name == name) return &u;
  return nullptr;
}

}  // namespace

std::string describe(Dimension d) { return family(d).text; }

std::optional<double> parse_double(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || !std::isfinite(value))
    return std::nullopt;
  return value;
}

std::optional<std::int64_t> parse_int(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<double> parse_quantity(Dimension d, std::string_view text, std::string& error) {
  const auto [number, unit_name] = split(text);
  const std::optional<double> value = number.empty() ? std::nullopt : parse_double(number);
  if (!value) {
    error = fmt::format("read '{}', expected {}", text, describe(d));
    return std::nullopt;
  }
  if (unit_name.empty()) {
    if (d == Dimension::none || d == Dimension::ratio || *value == 0) return *value;
    error = fmt::format("'{}' has no unit, expected {}", text, describe(d));
    return std::nullopt;
  }
  const Unit* unit = find_unit(d, unit_name);
  if (unit == nullptr) {
    error = fmt::format("unknown unit '{}' in '{}', expected {}", unit_name, text, describe(d));
    return std::nullopt;
  }
  const double scaled = *value * unit->factor;
  if (!std::isfinite(scaled)) {
    error = fmt::format("'{}' is too large", text);
    return std::nullopt;
  }
  return scaled;
}

std::optional<std::int64_t> parse_count(Dimension d, std::string_view text, std::string& error) {
  constexpr double kMost = 0x1p62;
  const std::optional<double> value = parse_quantity(d, text, error);
  if (!value) return std::nullopt;
  if (std::abs(*value) > kMost) {
    error = fmt::format("'{}' is too large", text);
    return std::nullopt;
  }
  const auto [number, unit_name] = split(text);
  if (const auto whole = parse_int(number)) {
    const Unit* unit = find_unit(d, unit_name);
    return *whole * (unit == nullptr ? 1 : static_cast<std::int64_t>(unit->factor));
  }
  return std::llround(*value);
}

std::string print_count(Dimension d, std::int64_t count) {
  if (count == 0) return fmt::format("0 {}", family(d).units.back().name);
  for (const Unit& u : family(d).units) {
    const auto factor = static_cast<std::int64_t>(u.factor);
    if (count % factor == 0) return fmt::format("{} {}", count / factor, u.name);
  }
  return fmt::format("{} {}", count, family(d).units.back().name);
}

std::string print_quantity(Dimension d, double value) {
  if (d == Dimension::none) return fmt::format("{}", value);
  if (d == Dimension::ratio) return fmt::format("{}", value);
  for (const Unit& u : family(d).units) {
    const double scaled = value / u.factor;
    if (std::abs(scaled) >= 1.0 && scaled * u.factor == value)
      return fmt::format("{} {}", scaled, u.name);
  }
  for (const Unit& u : family(d).units)
    if (u.factor == 1) return fmt::format("{} {}", value, u.name);
  return fmt::format("{}", value);
}

}  // namespace kvsim
