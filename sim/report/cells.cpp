#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "sim/report/sections.h"

namespace kvsim::report {
namespace {

std::string with_separators(std::string digits) {
  const std::size_t first = digits.starts_with('-') ? 1 : 0;
  for (std::size_t at = std::min(digits.find('.'), digits.size()); at > first + 3;)
    digits.insert(at -= 3, ",");
  return digits;
}

}  // namespace

Cell text_cell(std::string text) { return {std::move(text), kNone}; }

Cell number_cell(double value, int decimals) {
  if (!std::isfinite(value)) return text_cell("–");
  if (std::abs(value) >= 1e15) return {fmt::format("{:.4g}", value), value};
  return {with_separators(fmt::format("{:.{}f}", value, decimals)), value};
}

Cell count_cell(double value) { return number_cell(value, 0); }

Cell percent_cell(double ratio) {
  if (!std::isfinite(ratio)) return text_cell("–");
  return {fmt::format("{:.2f} %", 100 * ratio), ratio};
}

Cell bytes_cell(double bytes) {
  if (!std::isfinite(bytes)) return text_cell("–");
  constexpr std::array kUnits{"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  std::size_t unit = 0;
  double value = bytes;
  for (; std::abs(value) >= 1024 && unit + 1 < kUnits.size(); ++unit) value /= 1024;
  return {fmt::format("{:.{}f} {}", value, unit == 0 ? 0 : 2, kUnits[unit]), bytes};
}

std::string words(std::string name) {
  std::replace(name.begin(), name.end(), '_', ' ');
  return name;
}

}  // namespace kvsim::report
