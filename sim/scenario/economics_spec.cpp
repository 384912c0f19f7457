#include "sim/scenario/economics_spec.h"

#include <fmt/format.h>

namespace kvsim::detail {

bool read_unit_price(const Tree& t, const char* unit, const char* example, double& out, Reader& r) {
  if (!expect_scalar(t, r, example)) return false;
  std::string_view text = t.text();
  const std::string_view suffix = unit;
  const bool has_unit = text.ends_with(suffix);
  if (has_unit) text.remove_suffix(suffix.size());
  while (text.ends_with(' ')) text.remove_suffix(1);
  const auto value = parse_double(text);
  if (!value || *value < 0 || (!has_unit && *value != 0)) {
    r.error(t, fmt::format("read '{}', expected a figure such as {}", t.text(), example));
    return false;
  }
  out = *value;
  return true;
}

Tree write_unit_price(double value, const char* unit) {
  return Tree::scalar(fmt::format("{} {}", value, unit));
}

}  // namespace kvsim::detail
